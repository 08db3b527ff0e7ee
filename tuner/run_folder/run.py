"""`Run`, a run folder as those see it who look at it and ask its driver for something; here one on this machine."""

import time
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import StudyNotFoundError
from tuner.run_folder.control import CONTROL_FILE, Verb, asked, request
from tuner.run_folder.lock import is_locked
from tuner.run_folder.log import LOG_FILE
from tuner.run_folder.place import Place
from tuner.run_folder.trial_files import write_atomic


class Run:
    """A run folder on this machine. `object_storage.run_at_uri.RunAtUri` is one at a URI, and is used in the same way.

    Attributes:
        folder: where its files are read, once they were brought.
        place: what the user calls it.
        poll_s: how long to wait between two looks at it, in seconds.
    """

    poll_s = 0.5

    def __init__(self, folder: Path, place: Place | None = None) -> None:
        self.folder = folder
        self.place: Place = place or folder

    @property
    def is_running(self) -> bool:
        """Whether a driver held it at the last look."""
        return is_locked(self.folder)

    def refresh(self) -> None:
        """Look at it again; a folder on this machine is always seen as it is."""

    def has_folder(self, name: str) -> bool:
        """Whether it held that folder, a checkpoint or `best`, with all of its files at the last look."""
        return (self.folder / name).exists()

    def bring(self, *patterns: str) -> Path:
        """Bring the files whose names match to this machine, those that are new or changed; gives `folder`. Blocks."""
        return self.folder

    @property
    def asked(self) -> Verb:
        """What its driver was asked for last."""
        return asked(self.bring(CONTROL_FILE))

    def ask(self, verb: Verb) -> None:
        """Ask its driver for something; it looks once a second, or every few seconds at a URI.

        Raises `ControlError` where no driver runs, or where the sweep is on its way to its end.
        """
        self._request(request(self.place, verb, before=self.asked, is_running=self.is_running))

    def _request(self, text: str) -> None:
        write_atomic(self.folder / CONTROL_FILE, text)

    def wait(self) -> None:
        """Block until no driver runs."""
        while self.is_running:
            time.sleep(self.poll_s)
            self.refresh()

    def log(self, *, follow: bool = False) -> Iterator[str]:
        """What its terminal was told, in pieces; with `follow` on to the end of its driver. Blocks between pieces.

        Raises `StudyNotFoundError` where there is none.
        """
        read = 0
        while True:
            # Asked before reading: what a driver wrote before it ended is then read still.
            has_more = self.is_running and follow
            try:
                with (self.bring(LOG_FILE) / LOG_FILE).open("rb") as file:
                    file.seek(read)
                    new = file.read()
            except FileNotFoundError:
                raise StudyNotFoundError(
                    f"{self.place} holds no {LOG_FILE}: it is no run folder, or nothing has run yet."
                ) from None
            # Whole lines: a letter may be written in two halves.
            new = new[: new.rfind(b"\n") + 1] if has_more else new
            read += len(new)
            yield new.decode(errors="replace")
            if not has_more:
                return
            time.sleep(self.poll_s)
            self.refresh()
