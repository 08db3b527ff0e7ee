"""`import_trainable`, from "module:function" to the function.

Knows nothing of the rest of a sweep.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.errors import SpecError
from tuner.fields import did_you_mean, shown


def import_trainable(spec_string: str, search_path: Path) -> Callable[..., Any]:
    """The function that "module:function" names; runs the module's code where it is not imported yet.

    Puts `search_path` first on `sys.path` where it isn't on it. Raises `SpecError` where there is no such
    function, or where it can't be called as `train(trial)`.
    """
    module_name, _, path = spec_string.partition(":")
    if not module_name or not path or module_name.endswith(".py") or "/" in module_name:
        raise SpecError(
            [
                "trainable must be module:function, such as trainables.image_classification:train; "
                f"got {shown(spec_string)}."
            ]
        )
    if str(search_path) not in sys.path:
        sys.path.insert(0, str(search_path))
    function = _attribute(_module(module_name, search_path), path, spec_string)
    if not callable(function):
        raise SpecError([f"trainable {spec_string} must be a function; it is a {type(function).__name__}."])
    check_signature(function, spec_string)
    return function


def _module(name: str, search_path: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        is_absent = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        where = f"; the working directory, {search_path}, is searched first" if is_absent else ""
        raise SpecError(
            [f"trainable: the module {name} can't be imported: {type(error).__name__}: {message}{where}."]
        ) from error


def _attribute(module: ModuleType, path: str, spec_string: str) -> object:
    if "<" in path:
        raise SpecError([f"trainable {spec_string} is inside a function: move it to the top of its module."])
    found: object = module
    for name in path.split("."):
        if not hasattr(found, name):
            known = [other for other, value in vars(found).items() if callable(value) and other[0] != "_"]
            place = getattr(found, "__name__", path)
            near = did_you_mean(name, known)
            raise SpecError([f"trainable {spec_string}: {place} has no {name}{near}; name a function of it."])
        found = getattr(found, name)
    return found


def check_signature(function: Callable[..., Any], spec_string: str) -> None:
    """Raises `SpecError` for what can't be called as `train(trial)`, or would only make a coroutine or a generator."""
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        kind = "a coroutine" if inspect.iscoroutinefunction(function) else "a generator"
        raise SpecError([f"trainable {spec_string} makes {kind} and trains nothing when called: use a plain function."])
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # written in C: nothing to look at
    try:
        signature.bind(None)
    except TypeError:
        raise SpecError(
            [f"trainable {spec_string} must take one argument, as `def train(trial)`; it takes {signature}."]
        ) from None
