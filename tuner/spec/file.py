"""Reads a sweep file, together with the trainable it names or the run folder it is in."""

import copy
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tuner.command import command_line
from tuner.errors import SpecError, StudyNotFoundError
from tuner.run_folder.place import Place
from tuner.run_folder.provenance import FORMAT, PROVENANCE
from tuner.run_folder.trial_files import SPEC_FILE
from tuner.spec.conditions import parse_when
from tuner.spec.keys import NONE, SWEEP
from tuner.spec.other_tools import name_here
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.trainable import import_trainable, parameters_of
from tuner.spec.yaml_text import load_yaml

if TYPE_CHECKING:
    from tuner.trial.trial import Trial

Trainable = Callable[["Trial"], None]

# Our trainables that older run folders name by the module they were in.
_MOVED = {"tuner.baseline:train_and_score": "tuner.evaluation.against_default:train_and_score"}


def load_and_import(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[SweepSpec, Trainable]:
    """Load the sweep that a file describes and import its trainable; report all mistakes of both at once.

    Args:
        changes: as in `changed`.
    """
    try:
        spec = load_file(path, changes or {})
    except SpecError as error:
        is_told = any(problem.startswith("trainable ") for problem in error.problems)
        raise SpecError([*error.problems, *(() if is_told else _trainable_problems(path, changes or {}))]) from None
    return spec, import_trainable(spec.trainable, Path.cwd())


def _trainable_problems(path: Path, changes: Mapping[str, Any]) -> Sequence[str]:
    """Report problems with the trainable of a file that has other mistakes."""
    try:
        given = YAML(typ="safe", pure=True).load(path)["trainable"]
        import_trainable(changes.get("trainable", given), Path.cwd())
    except SpecError as error:
        return error.problems
    except Exception:
        return ()  # the file is so broken that its mistakes are reported already
    return ()


def load_file(path: Path, changes: Mapping[str, Any]) -> SweepSpec:
    """Load a sweep file, or the `sweep.yaml` of a run folder."""
    return SweepSpec.from_dict(load_values(path, changes), name_default=path.stem)


def load_values(path: Path, changes: Mapping[str, Any]) -> Any:
    """Load the values of a sweep file or of a run folder's `sweep.yaml`, without checking them."""
    data = load_yaml(path)
    if path.name == SPEC_FILE and PROVENANCE in (data or ()):
        data = read_spec(path.parent)[0].to_dict()
    return changed(data, changes)


def changed(data: Any, changes: Mapping[str, Any]) -> Any:
    """Change some of a sweep file's values.

    A parameter of the file becomes a constant, or what a mapping says (`{min: 0.1, max: 1}`). Parameters whose `when`
    can no longer hold are removed, also from `start_with`. Any other name is a key of the file, with dots between the
    levels (`budget.hours`), or a parameter that the trainable declares; `parameters.NAME` is any parameter, even one
    that the file does not have yet. Raises `SpecError` for any other name.
    """
    if not changes or not isinstance(data, Mapping):
        return data  # the reader of the file reports what is wrong
    data = copy.deepcopy(dict(data))
    given = data.get("parameters", {})
    space: dict[str, Any] = given if isinstance(given, dict) else {}
    problems = []
    for name, value in changes.items():
        first, *rest = name.split(".")
        inner = name if name in space else name.removeprefix("parameters.")
        is_new = inner != name and inner and "." not in inner
        if isinstance(given, dict) and (inner in space or is_new):
            data["parameters"] = space
            _fix(data, space, inner, value)
        elif first in SWEEP and first != "parameters" and all(rest):
            problems += _put(data, first, rest, value)
        elif name in (own := _parameters_of(changes.get("trainable", data.get("trainable")))):
            data["parameters"] = space
            _fix(data, space, name, value)
        else:
            problems.append(f"--set {name}: {_unknown(name, [*space, *own])}")
    if problems:
        raise SpecError(problems)
    return data


def _parameters_of(trainable: Any) -> tuple[str, ...]:
    """The parameters that a trainable declares; none if it can't be imported, which is reported when it is needed."""
    try:
        return parameters_of(import_trainable(str(trainable), Path.cwd()))
    except SpecError:
        return ()


def _unknown(name: str, parameters: Sequence[str]) -> str:
    if name.split(".")[0] == "parameters":
        return "a parameter is set as a whole, as in --set 'lr={min: 0.1, max: 1}'."
    meant = name_here(name) or next(iter(get_close_matches(name, [*parameters, *SWEEP], n=1)), "")
    told = f"; did you mean {meant}?" if meant else "."
    return (
        f"neither a parameter of the file or its trainable nor a key of the file{told} "
        "A parameter that the file does not have yet is set as "
        f"parameters.{name}."
    )


def _fix(data: dict[str, Any], space: dict[str, Any], name: str, value: Any) -> None:
    old = space.get(name)
    given = value if isinstance(value, Mapping) else {"value": value}
    when = {"when": old["when"]} if isinstance(old, Mapping) and "when" in old else {}
    space[name] = {**when, **given}
    gone = {name}
    if not isinstance(value, Mapping):
        gone |= _no_longer(space, name, value)
    for one in gone - {name}:
        del space[one]
    for node in space.values() if not isinstance(value, Mapping) else ():
        if isinstance(node, dict) and name in node.get("when", ()):
            node["when"] = {**node["when"], name: value}  # it names no other value any more
    known_good = data.get("start_with")
    for params in known_good if isinstance(known_good, list) else []:
        for one in gone.intersection(params if isinstance(params, dict) else ()):
            del params[one]


def _no_longer(space: Mapping[str, Any], name: str, value: Any) -> set[str]:
    """The parameters whose `when` can't hold if one has only this value, and those that depend on them."""
    whens = {child: parse_when("", node.get("when", {}))[0] for child, node in space.items() if isinstance(node, dict)}
    can_be: dict[str, list[Any]] = {name: [value]}
    while True:
        gone = {
            child
            for child, when in whens.items()
            for parent, wanted in when.items()
            if parent in can_be and not any(one in wanted for one in can_be[parent])
        }
        if gone <= can_be.keys():
            return gone
        can_be |= {child: [] for child in gone}


def _put(data: dict[str, Any], first: str, rest: Sequence[str], value: Any) -> list[str]:
    """Set a key, and report problems. A rule that is absent or only a name becomes a mapping with its type."""
    *above, last = [first, *rest]
    for key in above:
        there = data.get(key)
        if isinstance(there, list):
            return [f"--set {'.'.join([first, *rest])}: {key} is a list of {len(there)}; change the file."]
        if not isinstance(there, dict):
            is_rule = key == "early_terminate"
            data[key] = {"type": there if isinstance(there, str) and there != NONE else "auto"} if is_rule else {}
        data = data[key]
    data[last] = value
    return []


def differences(folder: Path, spec: SweepSpec) -> list[str]:
    """The keys in which the run in a folder differs from this sweep."""
    written, given = read_spec(folder)[0].to_dict(), spec.to_dict()
    return [key for key in {**written, **given} if written.get(key) != given.get(key)]


def check_same(folder: Path, place: Place, spec: SweepSpec) -> None:
    """Raise `SpecError` if the run in a folder is of another sweep."""
    if differs := differences(folder, spec):
        # Resuming checks changes of that file against the trials so far.
        change = f"after changing parameters in {place / SPEC_FILE}, " if differs == ["parameters"] else ""
        raise SpecError(
            [
                f"--id {place.name}: {place} holds another sweep, which differs in {', '.join(differs)}; choose "
                f"another id, or resume that one: {change}{command_line('resume', place)}"
            ]
        )


def read_spec(folder: Path, place: Place | None = None) -> tuple[SweepSpec, dict[str, Any]]:
    """Read a run folder's description and provenance; `place` is the user's name for the folder."""
    path = folder / SPEC_FILE
    if not path.exists():
        raise StudyNotFoundError(
            f"{place or folder} is not a run folder: it holds no {SPEC_FILE}. `tuner list` shows all run folders."
        )
    data = load_yaml(path)
    provenance = data.pop(PROVENANCE, None) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(provenance, dict) or not {"study", "seed"} <= provenance.keys():
        raise SpecError(
            [
                f"{path} is cut off or not a run's: it lacks what `tuner run` writes under `{PROVENANCE}`. Restore it "
                "from a copy of the folder."
            ]
        )
    if isinstance(given := provenance.get("format", FORMAT), int) and given > FORMAT:
        raise SpecError(
            [f"{path}: written by a later version of tuner (format {given}; this one reads {FORMAT}): use it."]
        )
    if "format" not in provenance:
        method = data.get("method", "bayes")
        # If a sampler instance was passed, no method applies, including this one.
        renames = {"bayes": "tpe", "multifidelity": "bayes"}
        data = {"early_terminate": NONE, **data, "method": renames.get(method, method)}
        provenance = {"format": FORMAT, **provenance}
    data["trainable"] = _MOVED.get(data.get("trainable", ""), data.get("trainable"))
    return SweepSpec.from_dict(data), provenance
