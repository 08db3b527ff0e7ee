"""A sweep file together with the trainable that it names, or with the run of a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from tuner.errors import SpecError
from tuner.files import SPEC_FILE
from tuner.results import PROVENANCE, read_spec
from tuner.spec import SweepSpec, import_trainable, load_yaml
from tuner.uri import Place

if TYPE_CHECKING:
    from tuner.context import Trial

Trainable = Callable[["Trial"], None]


def load_and_import(path: Path) -> tuple[SweepSpec, Trainable]:
    """What a sweep file describes, and its trainable; all mistakes of both are told at once."""
    try:
        spec = load_file(path)
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


def load_file(path: Path) -> SweepSpec:
    """A sweep file, or the `sweep.yaml` of a run folder."""
    is_of_run = path.name == SPEC_FILE and PROVENANCE in (load_yaml(path) or ())
    return read_spec(path.parent)[0] if is_of_run else SweepSpec.from_yaml(path)


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
