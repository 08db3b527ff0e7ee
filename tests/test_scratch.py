import subprocess
import sys
from pathlib import Path

from tuner.scratch import Scratch

HOLD = """
import sys
from pathlib import Path
from tuner.scratch import Scratch
scratch = Scratch(sys.argv[2], Path(sys.argv[1]))
(scratch.path / "file").touch()
print("held", flush=True)
sys.stdin.read()
"""


def holder(parent: Path, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    killed, living = holder(tmp_path, "killed"), holder(tmp_path, "living")
    killed.kill()
    killed.communicate()
    mine = Scratch("mine", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"living", "mine"}
    assert (tmp_path / "living" / "file").exists()
    living.communicate()
    mine.close()
    mine.close()
    assert {path.name for path in tmp_path.iterdir()} == {"living"}


def test_the_last_of_those_who_share_a_folder_removes_it(tmp_path: Path) -> None:
    first, second = Scratch("shared", tmp_path), Scratch("shared", tmp_path)
    first.close()
    assert second.path.is_dir()
    second.close()
    assert not second.path.exists()
