"""A user's requests to a running sweep: a small file in its run folder, which the sweep's driver polls.

Any process that sees the folder may write it, on another node too. It is meant for the present driver: a driver removes
it when it starts and when it ends.
"""

import enum
import json
import time
from pathlib import Path

from tuner.errors import ControlError
from tuner.run_folder.place import Place

CONTROL_FILE = "control.json"


class Verb(enum.Enum):
    """A request to a running sweep, with W&B's meaning."""

    RESUME = "resume"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"

    @property
    def is_final(self) -> bool:
        return self in (Verb.STOP, Verb.CANCEL)


# A sweep that is ending can't be resumed or paused, but it may be ended faster.
_REFUSED = {
    (Verb.STOP, Verb.PAUSE): "is being stopped already",
    (Verb.STOP, Verb.RESUME): "is being stopped; resume it when it has ended",
    (Verb.CANCEL, Verb.PAUSE): "is being cancelled already",
    (Verb.CANCEL, Verb.RESUME): "is being cancelled; resume it when it has ended",
    (Verb.CANCEL, Verb.STOP): "is being cancelled already",
}


def request(place: Place, verb: Verb, *, before: Verb, is_running: bool) -> str:
    """The text to write for the driver of the sweep in `place`, whose last request was `before`.

    Raises `ControlError` if no driver runs, or if the sweep is ending already.
    """
    if not is_running:
        raise ControlError(f"{place} is not running, so there is nothing to {verb.value}; see `tuner status`.")
    if (before, verb) in _REFUSED:
        raise ControlError(f"{place} {_REFUSED[before, verb]}.")
    return json.dumps({"verb": verb.value, "asked": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n"


def asked(folder: Path) -> Verb:
    """The last request to the present driver; `RESUME` if it runs as usual."""
    try:
        return _read(folder)
    except OSError:
        return Verb.RESUME


def _read(folder: Path) -> Verb:
    """Read the request. Raises OSError if the file can't be read."""
    text = (folder / CONTROL_FILE).read_text(encoding="utf-8")
    try:
        return Verb(json.loads(text)["verb"])
    except (ValueError, KeyError, TypeError):
        # A mistake in a file written by hand must not end a sweep.
        return Verb.RESUME


def clear(folder: Path) -> None:
    """Remove the request to an earlier driver; called by the driver that holds the lock."""
    (folder / CONTROL_FILE).unlink(missing_ok=True)


class Control:
    """The driver's side: reads the request. A look costs one `stat` unless the file has changed."""

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
            pass  # storage that is gone for a moment: nothing new is asked
        return self._verb
