"""Printing to a terminal, a pipe or a log: all output goes through here, and what can't be shown is escaped."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from tuner.errors import NoReaderError

# Characters that move a cursor, colour a terminal, break a line or reverse its direction; and lone surrogates.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERING_BUT_LINES = re.compile(rf"(?![\n\t]){_STEERING.pattern}")

# A pipe that nobody reads any more, a closed terminal.
_NO_READER = (errno.EPIPE, errno.EIO, errno.ENXIO)

# Characters that this program prints and small character sets lack.
_PLAINER = {"…": "...", "±": "+-"}


def one_line(text: str) -> str:
    """Escape line breaks and all else that would control a terminal, as `\\n` and `\\x1b`."""
    return _STEERING.sub(_escaped, _decoded(text))


def encodable(text: str, encoding: str) -> str:
    """Escape the characters that `encoding` lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for char, plain in _PLAINER.items():
            text = text.replace(char, plain)
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def say(*lines: str, err: bool = False) -> None:
    """Print each text on its own line, or one empty line without any.

    Raises `NoReaderError` if nobody reads it.
    """
    _print("".join(f"{one_line(line)}\n" for line in lines or [""]), err)


def say_whole(text: str, *, err: bool = False) -> None:
    """Print a text as it is, without adding a line break, such as a piece of a log."""
    _print(_STEERING_BUT_LINES.sub(_escaped, _decoded(text)), err)


def say_json(value: Any) -> None:
    say_whole(f"{json.dumps(value, indent=2)}\n")


def open_closed_streams() -> None:
    """Open the standard streams that this process was started without, as by cron.

    Otherwise a file opened later gets a stream's number, and what others print ends up in that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for good


class Screen:
    """A stream that takes any text, with the methods of a file that rich needs.

    Writes nothing if the stream is closed (Python then has None in its place), or if nobody reads it any more:
    `tuner run | head` keeps training.

    Attributes:
        has_reader: whether the stream has a reader so far.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.has_reader = True
        self._stream = stream
        # None if the stream keeps texts in memory.
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self._stream is not None:
            with self._losing_reader():
                self._stream.write(encodable(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._losing_reader():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("this stream is closed")
        return self._stream.fileno()

    @contextmanager
    def _losing_reader(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_READER or self._stream is None:
                raise
            self.has_reader = False
            # Python writes what is left in its buffer at the end of the process, and would fail there.
            with open(os.devnull, "wb") as nothing, suppress(OSError):  # noqa: PTH123 - no path of a user's
                os.dup2(nothing.fileno(), self._stream.fileno())
            self._stream = None


def _print(text: str, err: bool) -> None:
    screen = Screen(sys.stderr if err else sys.stdout)
    screen.write(text)
    screen.flush()
    if not screen.has_reader:
        raise NoReaderError("nobody reads what is printed")


def _decoded(text: str) -> str:
    """Read as UTF-8 those bytes of a file name that Python could not read in its locale's encoding."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
