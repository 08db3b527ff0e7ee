"""Trainables and their names: from "module:function" to the function, and back."""

import contextlib
import functools
import importlib
import inspect
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from tuner.errors import SpecError
from tuner.spec.fields import did_you_mean, quoted

# Modules that are imported after the user's folder is first on the path, here or in a trial's process.
_NEEDED = (
    *(
        "ray",
        "optuna",
        "torch",
        "torchvision",
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "pyarrow",
        "tensorboard",
        "cmaes",
    ),
    *("sqlalchemy", "alembic", "grpc", "fsspec", "psutil", "threadpoolctl", "google", "yaml", "requests", "aiohttp"),
    *("jsonschema", "filelock", "packaging", "msgpack", "tqdm", "colorlog", "rich", "click", "ruamel", "PIL", "sympy"),
)
# Library files that read the command line.
_READERS = ("argparse.py", "optparse.py", "absl", "click", "typer", "fire", "docopt")


def import_trainable(spec_string: str, search_path: Path) -> Callable[..., Any]:
    """Import the function that "module:function" names.

    Puts `search_path` first on `sys.path` if it is not on it. Raises `SpecError` if there is no such function, or if it
    can't be called as `train(trial)`.
    """
    module_name, _, path = spec_string.partition(":")
    if not module_name or not path or module_name.endswith(".py") or "/" in module_name or module_name[0] == ".":
        raise SpecError(
            [
                "trainable must be module:function, such as trainables.image_classification:train; "
                f"got {quoted(spec_string)}."
            ]
        )
    check_shadows(search_path)
    if str(search_path) not in sys.path:
        sys.path.insert(0, str(search_path))
    function = _attribute(_module(module_name, search_path), path, spec_string)
    if not callable(function):
        raise SpecError([f"trainable {spec_string} must be a function; it is a {type(function).__name__}."])
    check_signature(function, spec_string)
    return function


def check_shadows(folder: Path) -> None:
    """Raise `SpecError` if a folder that is searched first has files that hide libraries we need."""
    found = [
        path for name in _NEEDED for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.exists()
    ]
    # Not in the folder of the libraries themselves.
    if found and not (folder / "ray" / "_private").exists():
        raise SpecError(
            [
                f"{path}: it would be imported instead of the library {path.stem}, since its folder is searched "
                "first: rename it."
                for path in (path.parent if path.stem == "__init__" else path for path in found)
            ]
        )


def parameters_of(train: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters that a trainable takes, from its module's `PARAMETERS`; empty if there is no such list."""
    module = inspect.getmodule(_origin(train))
    names = getattr(module, "PARAMETERS", ())
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SpecError([f"{getattr(module, '__name__', train)}.PARAMETERS must list names; got {quoted(names)}."])
    return tuple(names)


def name_of(train: Callable[..., Any]) -> str:
    """The name under which a trainable can be imported; `partial(train)` or similar if it can't."""
    origin = _origin(train)
    module = getattr(origin, "__module__", None) or type(origin).__module__
    if path := _path_in(sys.modules.get(module), train):
        return f"{module}:{path}"
    if isinstance(train, FunctionType) and "<" in train.__qualname__:
        return f"{module}:{train.__qualname__}"
    what = getattr(origin, "__qualname__", type(origin).__qualname__)
    kinds = {functools.partial: "partial", MethodType: "method", FunctionType: "function"}
    is_object = what == type(origin).__qualname__ and origin is train
    kind = next((kind for each, kind in kinds.items() if isinstance(train, each)), "object" if is_object else "")
    return f"{module}:{kind}({what})" if kind else f"{module}:{what}"


def label_of(name: str) -> str:
    """The default name of a sweep with this trainable."""
    return name.rpartition(":")[2].replace("<locals>.", "").rpartition("(")[2].strip("<>)")


def _origin(train: Any) -> Any:
    """The innermost function of a partial."""
    while isinstance(train, functools.partial):
        train = train.func
    return train


def _path_in(module: ModuleType | None, train: Any) -> str:
    """The path under which a module has this very trainable, or an empty text."""
    # A script's names may mean something else in a moment, and can't be imported.
    held = dict(vars(module)) if module and module.__name__ != "__main__" else {}
    for name, value in held.items():
        if value is train:
            return name
    path = str(getattr(train, "__qualname__", ""))
    if isinstance(train, MethodType) and not isinstance(train.__self__, type):
        path = next((f"{name}.{train.__name__}" for name, value in held.items() if value is train.__self__), "")
    found: Any = module
    for name in path.split(".") if path else ():
        found = getattr(found, name, None)
    # Each access creates a new method object; equal ones belong to the same object.
    is_it = found is train or (isinstance(train, MethodType) and found == train)
    return path if path and is_it else ""


def _module(name: str, search_path: Path) -> ModuleType:
    if name == "__main__":
        raise SpecError(
            [
                "trainable: it is in the script that was run, which can't be imported: resume in Python, with "
                "Sweep(...).resume(folder), or move it to a module."
            ]
        )
    printed = io.StringIO()
    try:
        # Code that reads the command line prints its usage, which would look like this program's.
        with contextlib.redirect_stderr(printed):
            module = importlib.import_module(name)
    except SystemExit as error:
        raise SpecError([f"trainable: the module {name} can't be imported: {exit_told(error)}."]) from error
    except Exception as error:
        message = " ".join(str(error).split())
        is_absent = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        where = f"; the working directory, {search_path}, is searched first" if is_absent else ""
        if "relative import" in message:
            where = "; name it with its package, such as package.module, and start in the folder that holds the package"
        raise SpecError(
            [f"trainable: the module {name} can't be imported: {type(error).__name__}: {message}{where}."]
        ) from error
    if sys.stderr is not None:
        sys.stderr.write(printed.getvalue())
    return module


def exit_told(error: SystemExit) -> str:
    """Why imported code ended the program, and what to do."""
    reading, trace = "", error.__traceback__
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename)
        reading = next((name for name in _READERS if name in (path.name, path.parent.name)), reading)
        trace = trace.tb_next
    if reading:
        return (
            f"it reads the command line when it is imported ({reading.removesuffix('.py')}), and ends the program over "
            "arguments that are not its own: move that into a function, or below `if __name__ == '__main__':`"
        )
    return f"it ends the program when it is imported (SystemExit: {error.code}): move that into a function"


def _attribute(module: ModuleType, path: str, spec_string: str) -> object:
    if "(" in path:
        raise SpecError(
            [
                f"trainable {spec_string} was passed in Python and has no name to import it by: resume with "
                "Sweep(...).resume(folder) in Python, or assign it to a name at the top of its module."
            ]
        )
    if "<" in path:
        raise SpecError([f"trainable {spec_string} is inside a function: move it to the top of its module."])
    found: object = module
    for name in path.split("."):
        if not hasattr(found, name):
            callables = [other for other in dir(found) if other[0] != "_" and callable(getattr(found, other, None))]
            place = getattr(found, "__name__", path)
            near = did_you_mean(name, callables)
            raise SpecError([f"trainable {spec_string}: {place} has no {name}{near}; name one of its functions."])
        above, found = found, getattr(found, name)
    if isinstance(above, type) and isinstance(inspect.getattr_static(above, name), FunctionType):
        raise SpecError(
            [
                f"trainable {spec_string} is a method, which needs an object: write `{name} = {above.__name__}(...)"
                f".{name}` at the top of its module, and name that; or make it a static method."
            ]
        )
    return found


def check_signature(function: Callable[..., Any], spec_string: str) -> None:
    """Raise `SpecError` if it can't be called as `train(trial)`, or would only return a coroutine or a generator."""
    if isinstance(function, type):
        raise SpecError(
            [
                f"trainable {spec_string} is a class, and calling it trains nothing: give a callable instance of it, "
                f"such as `train = {function.__name__}(...)`, or one of its methods, or a function."
            ]
        )
    origin = _origin(function)
    is_function = isinstance(origin, FunctionType | MethodType)
    called = origin if is_function else inspect.getattr_static(origin, "__call__", origin)
    for is_made, kind in _MAKERS:
        if is_made(called):
            raise SpecError(
                [f"trainable {spec_string} returns {kind} and trains nothing when called: use a plain function."]
            )
    try:
        # The call goes to the decorator's own function, whatever signature it claims.
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:
        return  # written in C: no signature
    try:
        signature.bind(None)
    except TypeError:
        raise SpecError(
            [f"trainable {spec_string} must take one argument, as `def train(trial)`; it takes {signature}."]
        ) from None


_MAKERS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (inspect.iscoroutinefunction, "a coroutine"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
    (inspect.isgeneratorfunction, "a generator"),
)
