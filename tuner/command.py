"""Commands of this program as a shell takes them: what is printed can be pasted."""

import shlex
import shutil
import sys
from pathlib import Path


def command_line(*words: object) -> str:
    """`tuner` with these words after it, each quoted where a shell would take it for something else."""
    return f"{program()} {shlex.join(map(str, words))}"


def program() -> str:
    """What this program was started as: `tuner`, or the path of it where no shell would find this one by that name."""
    given = Path(sys.argv[0])
    if given.parts[-2:] == ("tuner", "__main__.py"):
        return f"{shlex.quote(sys.executable)} -m tuner"
    found = shutil.which("tuner")
    is_found = found is not None and given.exists() and Path(found).samefile(given)
    return "tuner" if is_found or given.name != "tuner" else shlex.quote(str(given))
