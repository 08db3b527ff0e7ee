"""`Run`, one object for a run folder: read it, and send its driver requests. Here for a folder on this machine."""

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
    """A run folder on this machine. `object_storage.run_at_uri.RunAtUri` is the same for one at a URI.

    Attributes:
        folder: where to read its files, once they are fetched.
        place: the user's name for it.
        poll_s: seconds to wait between two looks at it.
    """

    poll_s = 0.5

    def __init__(self, folder: Path, place: Place | None = None) -> None:
        self.folder = folder
        self.place: Place = place or folder

    @property
    def is_running(self) -> bool:
        """Whether a driver ran it at the last look."""
        return is_locked(self.folder)

    def refresh(self) -> None:
        """Look at it again; does nothing for a folder on this machine."""

    def has_folder(self, name: str) -> bool:
        """Whether a folder in it, a checkpoint or `best`, was there and complete at the last look."""
        return (self.folder / name).exists()

    def bring(self, *patterns: str) -> Path:
        """Download new and changed files whose names match; return `folder`. Blocks."""
        return self.folder

    @property
    def asked(self) -> Verb:
        """The last request to its driver."""
        return asked(self.bring(CONTROL_FILE))

    def ask(self, verb: Verb) -> None:
        """Send its driver a request; the driver looks once a second, or every few seconds at a URI.

        Raises `ControlError` if no driver runs, or if the sweep is ending already.
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
        """Yield its log in pieces; with `follow`, until its driver ends. Blocks between pieces.

        Raises `StudyNotFoundError` if there is none.
        """
        read = 0
        while True:
            # Checked before reading, so that the last lines of a driver that ends now are still read.
            has_more = self.is_running and follow
            try:
                with (self.bring(LOG_FILE) / LOG_FILE).open("rb") as file:
                    file.seek(read)
                    new = file.read()
            except FileNotFoundError:
                raise StudyNotFoundError(
                    f"{self.place} holds no {LOG_FILE}: it is not a run folder, or nothing has run yet."
                ) from None
            # Whole lines: a character may be written in two parts.
            new = new[: new.rfind(b"\n") + 1] if has_more else new
            read += len(new)
            yield new.decode(errors="replace")
            if not has_more:
                return
            time.sleep(self.poll_s)
            self.refresh()
