"""What a trial tells of its data, beside its metrics: sentences on rows that were left out or are doubtful."""

import json
from collections.abc import Sequence

from tuner.trial.trial import Trial


def keep_notes(trial: Trial, notes: Sequence[str]) -> None:
    """Into `data.json` in the trial's folder."""
    (trial.dir / "data.json").write_text(json.dumps({"notes": notes}, indent=2) + "\n")
