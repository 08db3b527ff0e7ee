"""What a user asks of a sweep while it runs: a small file in its run folder, which the sweep's driver looks at.

Any process that sees the folder may write it, on another node too. It is addressed to the driver that runs now: a
driver removes it when it starts and when it ends. Knows nothing of Ray.
"""

import enum
import json
import time
from pathlib import Path

from tuner.errors import ControlError
from tuner.run_folder.place import Place

CONTROL_FILE = "control.json"


class Verb(enum.Enum):
    """What a running sweep can be asked for, with W&B's meaning."""

    RESUME = "resume"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"

    @property
    def is_final(self) -> bool:
        return self in (Verb.STOP, Verb.CANCEL)


# What may follow what: a sweep that ends does not come back, but it may be ended faster.
_REFUSED = {
    (Verb.STOP, Verb.PAUSE): "is being stopped already",
    (Verb.STOP, Verb.RESUME): "is being stopped; resume it when it has ended",
    (Verb.CANCEL, Verb.PAUSE): "is being cancelled already",
    (Verb.CANCEL, Verb.RESUME): "is being cancelled; resume it when it has ended",
    (Verb.CANCEL, Verb.STOP): "is being cancelled already",
}


def request(place: Place, verb: Verb, *, before: Verb, is_running: bool) -> str:
    """What is to be written for the driver of the sweep in `place`, of which `before` was asked last.

    Raises `ControlError` where no driver runs, or where the sweep is on its way to its end.
    """
    if not is_running:
        raise ControlError(f"{place} is not running, so there is nothing to {verb.value}; `tuner status` tells more.")
    if (before, verb) in _REFUSED:
        raise ControlError(f"{place} {_REFUSED[before, verb]}.")
    return json.dumps({"verb": verb.value, "asked": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n"


def asked(folder: Path) -> Verb:
    """What was asked last of the driver that runs now; `RESUME` where it is to run as usual."""
    try:
        return _read(folder)
    except OSError:
        return Verb.RESUME


def _read(folder: Path) -> Verb:
    """Raises OSError where it can't be read."""
    text = (folder / CONTROL_FILE).read_text(encoding="utf-8")
    try:
        return Verb(json.loads(text)["verb"])
    except (ValueError, KeyError, TypeError):
        # Written by hand with a mistake in it, which must not end a sweep.
        return Verb.RESUME


def clear(folder: Path) -> None:
    """Forget what was asked of an earlier driver; called by the one that holds the lock."""
    (folder / CONTROL_FILE).unlink(missing_ok=True)


class Control:
    """The driver's side: what it is asked for. A look costs one `stat` unless the file has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int, int] | None = None
        self._verb = Verb.RESUME

    def look(self) -> Verb:
        try:
            stat = (self._folder / CONTROL_FILE).stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._verb, self._stamp = _read(self._folder), stamp
        except OSError:
            pass  # storage that is gone for a moment asks for nothing new
        return self._verb
