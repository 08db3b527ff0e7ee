"""What a trial tells of its data, beside its metrics: sentences on rows that were left out or are doubtful."""

import json
from collections.abc import Sequence

from tuner.trial.trial import Trial

_FILE = "data.json"


def keep_notes(trial: Trial, notes: Sequence[str]) -> None:
    """Into `data.json` in the trial's folder."""
    (trial.dir / _FILE).write_text(json.dumps({"notes": notes}, indent=2) + "\n")


def add_note(trial: Trial, note: str) -> None:
    """To those that were kept before, if any were."""
    path = trial.dir / _FILE
    told = json.loads(path.read_text()) if path.is_file() else {"notes": []}
    path.write_text(json.dumps({**told, "notes": [*told["notes"], note]}, indent=2) + "\n")
