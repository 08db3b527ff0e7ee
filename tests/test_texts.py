"""Texts for terminals: nothing steers them, nothing is lost, nothing raises."""

import io
import os
import subprocess
import sys

import pytest

from tuner.texts import Screen, encodable, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[/data/raw] :x: [red]", "[/data/raw] :x: [red]"),
        ("größe 模型 🎉 \N{NO-BREAK SPACE}", "größe 模型 🎉 \N{NO-BREAK SPACE}"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x1b[31mred\x1b[0m\a", r"\x1b[31mred\x1b[0m\x07"),
        ("abc\u202edef\u2028", r"abc\u202edef\u2028"),
        ("half \ud83d", r"half \ud83d"),
        (os.fsdecode("läufe".encode()), "läufe"),
        ("no utf-8: \udcff", r"no utf-8: \xff"),
        (r"back\nslash", r"back\nslash"),
    ],
)
def test_one_line_shows_every_character_and_steers_nothing(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "größe … ± 🎉"),
        ("latin-1", r"größe ... ± \U0001f389".replace("±", "+-")),
        ("ascii", r"gr\xf6\xdfe ... +- \U0001f389"),
        ("cp1252", r"größe ... +- \U0001f389"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: str) -> None:
    assert encodable("größe … ± 🎉", encoding) == shown
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Screen(file).write("größe … ± 🎉")
    file.seek(0)
    assert file.read() == shown


def test_a_closed_stream_takes_everything() -> None:
    screen = Screen(None)
    assert screen.write("text") == 4
    screen.flush()
    assert not screen.isatty()


def test_what_was_closed_at_the_start_is_no_file_opened_later() -> None:
    program = (
        "import os, sys; from tuner.texts import open_closed_streams, say; open_closed_streams();"
        "say('to nobody'); say('to nobody', err=True); print(sys.stdin.read());"
        "later = open('/dev/null'); os._exit(42 if later.fileno() > 2 else 1)"
    )
    closed = f'exec 0<&- 1>&- 2>&-; exec "{sys.executable}" -c "{program}"'
    assert subprocess.run(["bash", "-c", closed], timeout=60).returncode == 42


def test_what_nobody_reads_any_more_harms_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:  # noqa: PTH123 - a number
        screen = Screen(stream)
        for _ in range(3):
            screen.write("text\n")
            screen.flush()
        assert not screen.has_reader
        assert not screen.isatty()


def test_a_command_whose_reader_has_read_enough_ends_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tuner"]
    done = subprocess.run([*command, "schema"], stdout=writer, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    done = subprocess.run([*command, "show", "nowhere"], stdout=subprocess.PIPE, stderr=writer)
    assert (done.returncode, done.stdout) == (2, b"")
    os.close(writer)
