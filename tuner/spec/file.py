"""A sweep file together with the trainable that it names, or with the run of a folder."""

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

# Trainables of ours that run folders of before name by the module that they were in.
_MOVED = {"tuner.baseline:train_and_score": "tuner.evaluation.against_default:train_and_score"}


def load_and_import(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[SweepSpec, Trainable]:
    """What a sweep file describes, and its trainable; all mistakes of both are told at once.

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
    """Of a file that has other mistakes as well."""
    try:
        given = YAML(typ="safe", pure=True).load(path)["trainable"]
        import_trainable(changes.get("trainable", given), Path.cwd())
    except SpecError as error:
        return error.problems
    except Exception:
        return ()  # its other mistakes are so bad that they are told already
    return ()


def load_file(path: Path, changes: Mapping[str, Any]) -> SweepSpec:
    """A sweep file, or the `sweep.yaml` of a run folder."""
    return SweepSpec.from_dict(load_values(path, changes), name_default=path.stem)


def load_values(path: Path, changes: Mapping[str, Any]) -> Any:
    """The values of a sweep file, or of the `sweep.yaml` of a run folder, right or wrong."""
    data = load_yaml(path)
    if path.name == SPEC_FILE and PROVENANCE in (data or ()):
        data = read_spec(path.parent)[0].to_dict()
    return changed(data, changes)


def changed(data: Any, changes: Mapping[str, Any]) -> Any:
    """A sweep file's values, some of them changed; the same where none is.

    A parameter of the file becomes a constant, or what a mapping says (`{min: 0.1, max: 1}`); where it decides which
    others there are (`when`), those that can't be any more are gone, also from `start_with`. Any other name is a key of
    the file, with dots between the levels (`budget.hours`), or a parameter that the trainable says it takes, and
    `parameters.NAME` any parameter that the file need not have yet. Raises `SpecError` for a name that is none of them.
    """
    if not changes or not isinstance(data, Mapping):
        return data  # who reads it tells what is wrong
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
    """Those that a trainable says it takes; none of one that can't be imported, which is told where it is needed."""
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
            node["when"] = {**node["when"], name: value}  # which names no other value any more
    known_good = data.get("start_with")
    for params in known_good if isinstance(known_good, list) else []:
        for one in gone.intersection(params if isinstance(params, dict) else ()):
            del params[one]


def _no_longer(space: Mapping[str, Any], name: str, value: Any) -> set[str]:
    """The parameters whose `when` can't hold where one has this value alone, with those that hang on them."""
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
    """The problems there are. A rule that was left out, or named alone, becomes a mapping with that type."""
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
    """The keys in which the run in a folder is not of this sweep."""
    written, given = read_spec(folder)[0].to_dict(), spec.to_dict()
    return [key for key in {**written, **given} if written.get(key) != given.get(key)]


def check_same(folder: Path, place: Place, spec: SweepSpec) -> None:
    """Raises `SpecError` where it is of another."""
    if differs := differences(folder, spec):
        # What is changed there is checked against what was tried.
        change = f"after changing parameters in {place / SPEC_FILE}, " if differs == ["parameters"] else ""
        raise SpecError(
            [
                f"--id {place.name}: {place} holds another sweep, which differs in {', '.join(differs)}; choose "
                f"another id, or resume that one: {change}{command_line('resume', place)}"
            ]
        )


def read_spec(folder: Path, place: Place | None = None) -> tuple[SweepSpec, dict[str, Any]]:
    """A run folder's description and its provenance; `place` is what its user calls it."""
    path = folder / SPEC_FILE
    if not path.exists():
        raise StudyNotFoundError(
            f"{place or folder} is no run folder: it holds no {SPEC_FILE}. `tuner list` shows those there are."
        )
    data = load_yaml(path)
    provenance = data.pop(PROVENANCE, None) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(provenance, dict) or not {"study", "seed"} <= provenance.keys():
        raise SpecError(
            [
                f"{path} is cut or not of a run: it lacks what `tuner run` has written under `{PROVENANCE}`. Bring it "
                "back from a copy of the folder."
            ]
        )
    if isinstance(given := provenance.get("format", FORMAT), int) and given > FORMAT:
        raise SpecError(
            [f"{path}: it was written by a later version of tuner (format {given}; this one knows {FORMAT}): use that."]
        )
    if "format" not in provenance:
        method = data.get("method", "bayes")
        # Beside a sampler that was handed over a method stands for nothing, also this one.
        renames = {"bayes": "tpe", "multifidelity": "bayes"}
        data = {"early_terminate": NONE, **data, "method": renames.get(method, method)}
        provenance = {"format": FORMAT, **provenance}
    data["trainable"] = _MOVED.get(data.get("trainable", ""), data.get("trainable"))
    return SweepSpec.from_dict(data), provenance
