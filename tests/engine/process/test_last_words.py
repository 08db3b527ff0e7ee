"""What a process that dies leaves: real processes, that end in each way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import report
from tuner.engine.process.last_words import LastWords, forget, read_death

# Prints, then ends in the way that it is told; its streams go to files, as those of Ray's processes do.
PROCESS = """
import ctypes, os, signal, sys
from pathlib import Path
from tuner.engine.process.last_words import LastWords, tell_exits
words = LastWords(Path(sys.argv[1]), "me")
tell_exits()
print("of the trial before")
sys.stdout.flush()
words.begin()
print(":actor_name:Warm")
print("shown")
if sys.argv[2] != "silent":
    print("no such file", file=sys.stderr)
if sys.argv[2] in ("exit", "silent"):
    os._exit(3)
if not os.fork():
    os._exit(7)  # a child's is none of ours
os.wait()
sys.stderr.write("*** SIGSEGV received at time=1 on cpu 1 ***\\n" * (sys.argv[2] == "fault"))
sys.stderr.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "its process died with exit code 3; it last printed: no such file"),
        ("silent", "its process died with exit code 3; it last printed: shown"),
        ("fault", "its process died by SIGSEGV; it last printed: no such file"),
        ("kill", "its process died without a word: killed from outside, as when memory runs out; it last printed: no"),
    ],
)
def test_how_a_process_has_ended_and_what_it_printed_last(tmp_path: Path, how: str, told: str) -> None:
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        code = subprocess.run([sys.executable, "-c", PROCESS, str(tmp_path), how], stdout=out, stderr=err).returncode
    assert code in (3, -signal.SIGKILL)
    death = read_death(tmp_path, "me")
    assert death.told().startswith(told)
    assert death.is_by_itself == (how != "kill")
    assert "before" not in death.printed
    assert "actor_name" not in death.printed
    assert "tuner:" not in death.printed
    forget(tmp_path, "me")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["err", "out"]
    assert read_death(tmp_path, "me").reports == ()


def test_reports_are_kept_until_they_have_arrived(tmp_path: Path) -> None:
    words = LastWords(tmp_path, "me")

    def kept() -> list[int]:
        return [report.step for report in read_death(tmp_path, "me").reports]

    words.add(report(1))
    words.add(report(2))
    assert kept() == [1, 2]
    words.hand_out()  # 1 and 2 are on their way
    words.add(report(3))
    assert kept() == [1, 2, 3]
    words.hand_out()  # asked for more: they have arrived
    assert kept() == [3]
    words.add(report(4, float("nan")))
    assert kept() == [3, 4]
    words.begin()
    assert kept() == []
    words.add(report(1, has_checkpoint=True))
    (found,) = read_death(tmp_path, "me").reports
    assert found == report(1, has_checkpoint=True)
    words.close()
    words.add(report(2))
    words.hand_out()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_written_costs_the_words_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = LastWords(tmp_path / "file", "me")
    words.begin()
    words.add(report(1))
    words.hand_out()
    assert read_death(tmp_path / "file", "me").reports == ()
