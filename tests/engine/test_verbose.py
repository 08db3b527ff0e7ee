"""What the processes of trials say, and who hears it."""

from pathlib import Path

import pytest

from tests.commands import tuner
from tuner.results.results import Results

SWEEP = """
trainable: tests.loops:talks
method: random
metric: {name: loss}
parameters: {x: {min: 0.0, max: 1.0}}
run_cap: 3
parallel: 1
"""


@pytest.mark.slow
def test_what_trainables_print_and_why_a_process_is_replaced_is_shown_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "talks.yaml").write_text(SWEEP)
    run = ("run", str(tmp_path / "talks.yaml"), "--output", str(tmp_path / "runs"))
    outputs = {}
    for name, option in (("quiet", ()), ("verbose", ("-v",))):
        code, outputs[name] = tuner(*run, "--id", name, *option)
        assert code == 0, outputs[name]
        assert Results(tmp_path / "runs" / name).counts() == {"completed": 3}
    replaced = "tuner: this process is replaced, since the trial left threads running: left behind"
    for text in ("this is what it says", replaced):
        assert text in outputs["verbose"]
        assert text not in outputs["quiet"]
