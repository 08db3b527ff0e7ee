"""A sweep file together with the trainable that it names, or with the run of a folder."""

import copy
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tuner.errors import SpecError
from tuner.files import SPEC_FILE
from tuner.keys import SWEEP
from tuner.results import PROVENANCE, read_spec
from tuner.spec import SweepSpec, import_trainable, load_yaml
from tuner.uri import Place

if TYPE_CHECKING:
    from tuner.context import Trial

Trainable = Callable[["Trial"], None]


def load_and_import(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[SweepSpec, Trainable]:
    """What a sweep file describes, and its trainable; all mistakes of both are told at once.

    Args:
        changes: as in `changed`.
    """
    try:
        spec = load_file(path, changes or {})
    except SpecError as error:
        is_told = any(problem.startswith("trainable ") for problem in error.problems)
        raise SpecError([*error.problems, *(() if is_told else _trainable_problems(path))]) from None
    return spec, import_trainable(spec.trainable, Path.cwd())


def _trainable_problems(path: Path) -> Sequence[str]:
    """Of a file that has other mistakes as well."""
    try:
        import_trainable(YAML(typ="safe", pure=True).load(path)["trainable"], Path.cwd())
    except SpecError as error:
        return error.problems
    except Exception:
        return ()  # its other mistakes are so bad that they are told already
    return ()


def load_file(path: Path, changes: Mapping[str, Any]) -> SweepSpec:
    """A sweep file, or the `sweep.yaml` of a run folder."""
    data = load_yaml(path)
    if path.name == SPEC_FILE and PROVENANCE in (data or ()):
        data = read_spec(path.parent)[0].to_dict()
    return SweepSpec.from_dict(changed(data, changes), name_default=path.stem)


def changed(data: Any, changes: Mapping[str, Any]) -> Any:
    """A sweep file's values, some of them changed.

    A parameter of the file becomes a constant, also in `start_with`. Any other name is a key of the file, with dots
    between the levels (`budget.hours`), and `parameters.NAME` a parameter that the file may not have yet. Raises
    `SpecError` for a name that is none of these.
    """
    if not isinstance(data, Mapping):
        return data  # that is told by who reads it
    data = copy.deepcopy(dict(data))
    space = data.get("parameters")
    known = list(space) if isinstance(space, Mapping) else []
    problems = []
    for name, value in changes.items():
        first, *rest = name.split(".")
        if name in known or (first == "parameters" and len(rest) == 1):
            _fix(data, name.removeprefix("parameters."), value)
        elif first in SWEEP and first != "parameters" and all(rest):
            _put(data, [first, *rest], value)
        else:
            near = get_close_matches(name, [*known, *SWEEP], n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            problems.append(
                f"--set {name}: neither a parameter of the file nor a key of it{meant} "
                f"A parameter that the file does not have yet is set as parameters.{name}."
            )
    if problems:
        raise SpecError(problems)
    return data


def _fix(data: dict[str, Any], name: str, value: Any) -> None:
    _put(data, ["parameters", name], {"value": value})
    known_good = data.get("start_with")
    for params in known_good if isinstance(known_good, list) else []:
        if isinstance(params, dict):
            params.pop(name, None)


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Where there is something else than a mapping on the way, such as `auto`, it is replaced by one."""
    *above, last = path
    for key in above:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data[last] = value


def differences(folder: Path, spec: SweepSpec) -> list[str]:
    """The keys in which the run in a folder is not of this sweep."""
    written, given = read_spec(folder)[0].to_dict(), spec.to_dict()
    return [key for key in {**written, **given} if written.get(key) != given.get(key)]


def check_same(folder: Path, place: Place, spec: SweepSpec) -> None:
    """Raises `SpecError` where it is of another."""
    if differs := differences(folder, spec):
        raise SpecError(
            [
                f"--id {place.name}: {place} holds another sweep, which differs in {', '.join(differs)}; choose "
                f"another id, or go on with that one: tuner resume {place}"
            ]
        )
