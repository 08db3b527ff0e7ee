"""Variables that are sent with a sweep: what a cluster may show, and what it must not."""

import os
from pathlib import Path

import pytest

from tuner.errors import SpecError
from tuner.trial.environment import POINTER, adopt, as_text, read_variables


def test_only_what_a_process_needs_at_its_start_is_shown_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_PLACES", "from here")
    monkeypatch.setenv("WANDB", "hush")
    shown, hidden = read_variables(
        (
            "OMP_NUM_THREADS=2",
            "LD_LIBRARY_PATH=/a=b",
            "RAY_AUTH_TOKEN=hush",
            "HF_TOKEN=hush",
            "URL=a:b",
            "WANDB",
            "OMP_PLACES",
            "X=",
        )
    )
    assert shown == {"OMP_NUM_THREADS": "2", "LD_LIBRARY_PATH": "/a=b"}
    assert hidden == {
        "RAY_AUTH_TOKEN": "hush",
        "HF_TOKEN": "hush",
        "URL": "a:b",
        "WANDB": "hush",
        "OMP_PLACES": "from here",
        "X": "",
    }


def test_all_mistakes_are_told_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOBODY", raising=False)
    with pytest.raises(SpecError) as caught:
        read_variables(("NOBODY", "=hush", "A B=hush", "1A=hush", "FINE=hush"))
    assert len(caught.value.problems) == 4
    assert "--env NOBODY: there is no such variable here" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_process_that_begins_sets_them_and_its_children_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "older")
    monkeypatch.setenv(POINTER, "file")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text(as_text({"API_TOKEN": "ä=\n'"}))
    adopt()
    assert os.environ["API_TOKEN"] == "ä=\n'"
    assert POINTER not in os.environ
    adopt()
