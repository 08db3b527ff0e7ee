"""The layers: who may import whom, read from the sources' imports without running them."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

# From low to high: an import points strictly downward. `tuner` is the package's own front, for its users alone.
LAYERS = (
    *(
        "errors",
        "texts",
        "command",
        "version",
        "credentials",
        "storage",
        "beside",
        "checkpoint_folder",
        "marker",
        "owned",
        "environment",
        "uri",
        "parts",
        "objectstore",
        "flock",
        "scratch",
        "seeds",
        "devices",
        "portable",
        "aliases",
        "fields",
        "trial",
        "metric",
        "domains",
    ),
    *(
        "syntax",
        "conditions",
        "parameters",
        "keys",
        "unsavable",
        "checkpoint",
        "shared",
        "optimizers",
        "context",
        "sections",
    ),
    *("rules", "schema", "trainable", "spec", "journal", "lock", "provenance"),
    *("methods", "optuna_records", "database_url", "database", "optuna_study", "study", "files", "best", "best_folder"),
    *(
        "retention",
        "checkpoint_store",
        "budget",
        "tensorboard",
        "derived",
        "control",
        "console",
        "runlog",
        "stopping",
        "running",
        "usage",
        "recorder",
    ),
    *(
        "lease",
        "manifest",
        "mirror",
        "layout",
        "runfolder",
        "localcopy",
        "archive",
        "results",
        "history",
        "scores",
        "evaluation",
        "revision",
        "engine",
        "tryout",
        "sweepfile",
        "understood",
        "simulation",
    ),
    *("sweep", "comparison", "baseline", "export", "printing", "verbs", "cli", "__main__", "tuner"),
)
RANK = {name: rank for rank, name in enumerate(LAYERS)}

FILES = sorted(path for top in ("tuner", "trainables") for path in (ROOT / top).rglob("*.py"))


class Import(NamedTuple):
    """An import of `target`; `is_lazy` inside a function."""

    source: str
    target: str
    line: int
    is_lazy: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def layer(module: str) -> str:
    """`spec` for tuner.spec, `engine` for tuner.engine and tuner.engine.run, `tuner` for the package itself."""
    return module.split(".")[1] if "." in module else module


def read_imports(source: str, tree: ast.AST, is_lazy: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []  # what only the type checker sees
        if isinstance(node, ast.Import):
            yield from (Import(source, alias.name, node.lineno, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno} imports relatively"
            for alias in node.names:
                target = f"{node.module}.{alias.name}"
                yield Import(source, target if target in MODULES else str(node.module), node.lineno, is_lazy)
        else:
            yield from read_imports(source, node, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@functools.cache
def all_imports() -> tuple[Import, ...]:
    trees = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
    return tuple(found for name, tree in trees.items() for found in read_imports(name, tree))


def told(imports: list[Import]) -> list[str]:
    return [f"{i.source}:{i.line} imports {i.target}" for i in imports]


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_the_table_names_the_layers_that_there_are() -> None:
    assert {layer(name) for name in MODULES if is_in(name, "tuner")} == set(LAYERS)


def test_imports_point_downward() -> None:
    ours = [i for i in all_imports() if is_in(i.source, "tuner") and is_in(i.target, "tuner")]
    assert len(ours) > 100
    between = [i for i in ours if layer(i.source) != layer(i.target)]
    assert told([i for i in between if RANK[layer(i.source)] <= RANK[layer(i.target)]]) == []
    # The defining module is imported, not its package.
    assert told([i for i in ours if MODULES[i.target].name == "__init__.py"]) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in all_imports():
        if found.target in MODULES:
            graph[found.source].add(found.target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_ray_is_the_engines_and_its_schedulers_are_the_stopping_rules() -> None:
    of_ray = [i for i in all_imports() if is_in(i.target, "ray") and not is_in(i.source, "tuner.engine")]

    def is_rule(source: str) -> bool:
        return is_in(source, "tuner.stopping") or is_in(source, "tuner.simulation")

    allowed = [i for i in of_ray if is_rule(i.source) and is_in(i.target, "ray.tune.schedulers")]
    assert allowed
    assert told([i for i in of_ray if i not in allowed]) == []


def test_gpus_are_touched_in_one_module() -> None:
    assert [name for name, path in MODULES.items() if "torch.cuda" in path.read_text()] == ["tuner.devices"]


def test_only_a_sweep_that_is_run_imports_what_imports_ray() -> None:
    with_ray = ("tuner.engine", "tuner.stopping", "tuner.simulation")
    found = [i for i in all_imports() if i.target.startswith(with_ray) and not i.source.startswith(with_ray)]
    assert all(i.is_lazy for i in found), told(found)
    assert {(i.source, i.target) for i in found} == {
        ("tuner.cli", "tuner.simulation.comparison"),
        ("tuner.cli", "tuner.simulation.recorded"),
        ("tuner.sweep", "tuner.engine.run"),
        ("tuner.sweep", "tuner.stopping.table"),
        ("tuner.verbs", "tuner.engine.jobs"),
    }


def test_a_trials_process_does_not_wait_for_what_only_the_driver_needs() -> None:
    reached, waiting = set(), {"tuner.engine.actor"}
    while waiting:
        source = waiting.pop()
        reached.add(source)
        waiting |= {i.target for i in all_imports() if i.source == source and not i.is_lazy} & MODULES.keys() - reached
    assert "tuner.context" in reached
    assert not [name for name in reached if is_in(name, "tuner.methods") or layer(name) in ("study", "tensorboard")]


def test_trainables_know_the_trial_and_nothing_else_of_ours() -> None:
    found = [i for i in all_imports() if is_in(i.source, "trainables") and i.target.split(".")[0] in ("tuner", "ray")]
    assert told([i for i in found if i.target not in ("tuner.context", "tuner.errors", "tuner.portable")]) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_says_what_it_is_for(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= MAX_LINES
    tree = ast.parse(text)
    assert not tree.body or ast.get_docstring(tree), f"{name} has no docstring"


def test_a_command_that_trains_nothing_imports_neither_torch_nor_ray() -> None:
    program = "import sys, tuner.cli; print(*sorted({'ray', 'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
