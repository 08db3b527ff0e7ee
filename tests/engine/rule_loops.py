"""The loop that the contract of rules is run with."""

import time
from pathlib import Path

from tuner.trial.trial import Trial

# What each trial reports, but for a little that becomes less with each step. Of eight the fourth and the fifth come to
# grief, with values worse than those of the six before the last two: whoever of them reports first holds up no other.
WORTH = (1.0, 2.0, 3.0, 50.0, 51.0, 4.0, 90.0, 95.0)
BEST, NAN, ERROR, BAD = 0, 3, 4, (6, 7)
STEPS = 9


def graded(trial: Trial) -> None:
    """Nine steps. One trial turns to NaN at its second step, one raises there; the one named by `late` begins late."""
    state = trial.restore()
    count = state["count"] if state else 0
    if trial.number == trial.params["late"] and not state:
        time.sleep(trial.params["late_s"])
    for step in range(state.step + 1 if state else 1, STEPS + 1):
        count += 1
        value = WORTH[trial.number] + 0.1 / step
        if step == 2 and trial.number == NAN:
            value = float("nan")
        if step == 2 and trial.number == ERROR:
            raise ValueError("comes to grief")
        time.sleep(0.01)
        trial.report({"loss": value, "count": count}, step=step, state={"count": count})


def writes_policy(folder: Path) -> Path:
    """What Ray Tune's population based training has logged of a trial: at the third step another configuration."""
    path = folder / "pbt_policy_0000.txt"
    config = '{"params": {"x": %s, "late": -1, "late_s": 0.0}, "number": 0, "restore_step": 0}'
    path.write_text(f'["a", "b", 3, 3, {config % 0.25}, {config % 0.75}]\n')
    return path
