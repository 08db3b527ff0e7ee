"""Whether the private names that we use of another package are there: what a new version of it breaks."""

import ast
import dis
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def missing(names: Sequence[str]) -> list[str]:
    """What is not there of `module:path.to.name`, each with the parameters that matter to us: `module:f(a, b)`."""
    return [problem for name in names if (problem := _problem(name))]


def missing_texts(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """The texts that a package's own files don't hold any more, by the files' paths."""
    return [
        f"{path} does not hold {text!r}"
        for path, wanted in texts.items()
        for text in wanted
        if text.encode() not in _content(path)
    ]


def private_names(sources: Sequence[Path], *, of_self: bool = True) -> set[str]:
    """All names with a single `_` in front that are attributes, methods of classes or imported there.

    Args:
        of_self: with methods, and the attributes of `self`.
    """
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Attribute):
                found |= {node.attr} if of_self or ast.unparse(node.value) != "self" else set()
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ClassDef) and of_self:
                found |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def _problem(name: str) -> str:
    place, _, parameters = name.rstrip(")").partition("(")
    module, _, path = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return f"{module}: there is no such module"
    for part in path.split("."):
        if not hasattr(found, part):
            is_last = path.endswith(f".{part}")
            return "" if is_last and inspect.isclass(found) and part in _instance_names(found) else place
        found = getattr(found, part)
    wanted = [parameter.strip() for parameter in parameters.split(",") if parameter]
    known = inspect.signature(found).parameters if wanted else {}
    lacking = [parameter for parameter in wanted if parameter not in known]
    return f"{place} has no parameter {', '.join(lacking)}" if lacking else ""


def _instance_names(kind: type) -> set[str]:
    """What the methods of a class and its bases assign to, and the fields that are annotated."""
    bases = [base for base in kind.__mro__ if base.__module__ != "builtins"]
    return {name for base in bases for name in (*_assigned(base), *inspect.get_annotations(base))}


def _assigned(kind: type) -> Iterator[str]:
    for method in map(inspect.unwrap, filter(inspect.isfunction, vars(kind).values())):
        yield from (step.argval for step in dis.get_instructions(method) if step.opname == "STORE_ATTR")


def _content(path: str) -> bytes:
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    file = Path(str(spec.origin)).parent / inside if spec else Path(inside)
    return file.read_bytes() if file.is_file() else b""
