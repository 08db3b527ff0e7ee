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

from tests.private_names import private_names

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

# The only modules that touch what is private of Ray and Optuna.
DOORS = ("tuner.engine.ray_compat", "tuner.methods.optuna_compat")
# What is private of Ray although its names do not say so.
PRIVATE = ("ray.air.execution", "ray.experimental", "ray.tune.execution", "ray.train.v2")

# Names that users have written down, kept for them alone.
OF_BEFORE = ("context", "portable")

# Each room of the house and the rooms that it may import from, those of its own aside; from low to high.
WORDS = ("errors", "texts", "command", "version", "metric", "records", "console")
ROOMS: dict[str, str] = {
    "words": "",
    "engine.ray_compat": "words",
    "run_folder": "words",
    "spec": "words run_folder",
    "object_storage": "words run_folder",
    "trial": "words run_folder spec",
    "methods": "spec trial",
    "stopping": "words spec engine.ray_compat",
    "study": "words run_folder spec trial methods",
    "results": "words run_folder spec object_storage trial methods study",
    "simulation": "words run_folder spec trial methods stopping study results",
    "export": "words run_folder spec trial results",
    "engine": "words run_folder trial engine.ray_compat",
    "engine.files": "words run_folder trial engine.ray_compat",
    "engine.process": "words run_folder spec trial stopping engine.ray_compat engine.files",
    "engine.workers": "words run_folder trial engine.ray_compat engine engine.files engine.process",
    "engine.driver": "words run_folder spec trial stopping study engine.ray_compat engine engine.files engine.process "
    "engine.workers",
    "remote": "words run_folder spec object_storage trial engine.ray_compat engine",
    "sweep": "words run_folder spec object_storage stopping study results engine.driver",
    "evaluation": "words run_folder spec trial results sweep",
    "cli": "words run_folder spec object_storage trial results simulation export remote sweep evaluation",
    "tuner": "trial",
    "trainables.data": "trial",
    "trainables.training": "words trial trainables.data",
    "trainables.vision": "trainables.data",
    "trainables.text": "trainables.data trainables.training",
    "trainables.audio": "trainables.data trainables.text",
    "trainables.recommending": "trainables.data trainables.text",
    "trainables.tables": "trainables.data trainables.training",
    "trainables": "tuner trial trainables.data trainables.training trainables.vision trainables.text trainables.audio "
    "trainables.recommending trainables.tables",
}

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


def room(module: str) -> str:
    """`spec` for tuner.spec.sweep_spec, `engine.driver` for tuner.engine.driver.run, `tuner` for the package itself."""
    top, _, path = module.partition(".")
    parts = path.split(".")
    if top == "trainables":
        return f"trainables.{parts[0]}" if f"trainables.{parts[0]}" in ROOMS else "trainables"
    if parts[0] in WORDS:
        return "words"
    if parts[0] == "attempt":
        return "sweep"
    if parts[0] == "__main__":
        return "cli"
    if parts[0] in OF_BEFORE:
        return "tuner"
    inner = ".".join(parts[:2])
    return inner if inner in ROOMS else parts[0] or "tuner"


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


def test_the_table_names_the_rooms_that_there_are() -> None:
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_a_room_imports_from_those_that_the_table_names() -> None:
    ours = [i for i in all_imports() if i.target in MODULES]
    assert len(ours) > 500
    between = {(room(i.source), room(i.target)): i for i in ours if room(i.source) != room(i.target)}
    allowed = {(name, target) for name, targets in ROOMS.items() for target in targets.split()}
    assert told([between[arrow] for arrow in between.keys() - allowed]) == []
    assert allowed - between.keys() == set(), "the table allows what nobody needs"
    # The defining module is imported, not its package.
    packages = [i for i in ours if MODULES[i.target].name == "__init__.py" and i.source != "trainables.template"]
    assert told(packages) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    TopologicalSorter({name: targets.split() for name, targets in ROOMS.items()}).prepare()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in all_imports():
        if found.target in MODULES:
            graph[found.source].add(found.target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_ray_is_the_engines_and_its_schedulers_are_the_stopping_rules() -> None:
    of_ray = [i for i in all_imports() if is_in(i.target, "ray") and i.source.split(".")[1] not in ("engine", "remote")]

    def is_rule(source: str) -> bool:
        return is_in(source, "tuner.stopping") or is_in(source, "tuner.simulation")

    allowed = [i for i in of_ray if is_rule(i.source) and is_in(i.target, "ray.tune.schedulers")]
    assert allowed
    assert told([i for i in of_ray if i not in allowed]) == []


def private_uses(name: str) -> Iterator[str]:
    """What a module imports, or takes from an imported name, that is private of Ray or Optuna."""
    roots = set()
    tree = ast.parse(MODULES[name].read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            target = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            if target.split(".")[0] not in ("ray", "optuna"):
                continue
            roots.add(alias.asname or alias.name.split(".")[0])
            if any(part.startswith("_") for part in target.split(".")) or any(is_in(target, top) for top in PRIVATE):
                yield f"{name}:{node.lineno} imports {target}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base, *path = ast.unparse(node).split(".")
            if base in roots and any(part.startswith("_") and not part.startswith("__") for part in path):
                yield f"{name}:{node.lineno} uses {ast.unparse(node)}"


def test_what_is_private_of_ray_and_optuna_is_reached_through_its_door() -> None:
    outside = [name for name in MODULES if not any(is_in(name, door) for door in DOORS)]
    assert [use for name in outside for use in private_uses(name)] == []
    assert sum(1 for door in DOORS for name in MODULES if is_in(name, door) for _ in private_uses(name)) > 10


def test_members_that_the_doors_use_are_mentioned_nowhere_else() -> None:
    inside = [path for name, path in MODULES.items() if any(is_in(name, door) for door in DOORS)]
    members = private_names(inside)
    assert len(members) > 50
    for name, path in MODULES.items():
        if path not in inside:
            # In the engine are classes made from Ray's.
            of_self = is_in(name, "tuner.engine") or is_in(name, "tuner.remote")
            assert private_names([path], of_self=of_self) & members == set(), name


def test_gpus_are_touched_in_one_module() -> None:
    assert [name for name, path in MODULES.items() if "torch.cuda" in path.read_text()] == ["tuner.trial.devices"]


def test_only_a_sweep_that_is_run_imports_what_imports_ray() -> None:
    with_ray = ("tuner.engine", "tuner.remote", "tuner.stopping", "tuner.simulation")
    found = [i for i in all_imports() if i.target.startswith(with_ray) and not i.source.startswith(with_ray)]
    assert all(i.is_lazy for i in found), told(found)
    assert {(i.source, i.target) for i in found} == {
        ("tuner.cli.main", "tuner.simulation.comparison"),
        ("tuner.cli.main", "tuner.simulation.recorded"),
        ("tuner.attempt", "tuner.engine.driver.run"),
        ("tuner.attempt", "tuner.stopping.table"),
        ("tuner.cli.verbs", "tuner.remote.jobs"),
    }


def test_a_trials_process_does_not_wait_for_what_only_the_driver_needs() -> None:
    reached, waiting = set(), {"tuner.engine.workers.trial_actor"}
    while waiting:
        source = waiting.pop()
        reached.add(source)
        waiting |= {i.target for i in all_imports() if i.source == source and not i.is_lazy} & MODULES.keys() - reached
    assert "tuner.trial.trial" in reached
    assert not [name for name in reached if room(name) in ("methods", "study")]


def test_trainables_know_the_trial_and_nothing_else_of_ours() -> None:
    found = [i for i in all_imports() if is_in(i.source, "trainables") and i.target.split(".")[0] in ("tuner", "ray")]
    found = [i for i in found if i.source != "trainables.template"]  # which is as its copies are
    allowed = ("tuner.trial.trial", "tuner.errors", "tuner.trial.portable")
    assert told([i for i in found if i.target not in allowed]) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_says_what_it_is_for(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= MAX_LINES
    tree = ast.parse(text)
    assert not tree.body or ast.get_docstring(tree), f"{name} has no docstring"


def test_a_command_that_trains_nothing_imports_neither_torch_nor_ray() -> None:
    program = "import sys, tuner.cli.main; print(*sorted({'ray', 'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
