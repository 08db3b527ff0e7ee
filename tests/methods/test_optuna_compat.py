"""What is private of Optuna and used by us is there: each name that a version of Optuna lacks is named."""

from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages.journal._storage import JournalOperation

from tests.private_names import missing, missing_texts, private_names
from tuner.methods.optuna_compat import ask_value, fixed_params, set_system_attribute, study_id
from tuner.run_folder.journal import Journal, count_trials

NAMES = [
    "optuna.storages:BaseStorage.set_trial_system_attr(trial_id, key, value)",
    "optuna.study:Study._storage",
    "optuna.study:Study._study_id",
    "optuna.trial:FrozenTrial._trial_id",
    "optuna.trial:FrozenTrial.system_attrs",
    "optuna.trial:Trial._trial_id",
    "optuna.trial:Trial._suggest(name, distribution)",
]
TEXTS = {"optuna/samplers/_cmaes.py": ['"cma:"']}
DOOR = Path(__file__).parents[2] / "tuner/methods/optuna_compat.py"


def test_optuna_has_the_private_names_that_are_used() -> None:
    assert missing(NAMES) == []
    assert missing_texts(TEXTS) == []


def test_all_private_names_in_the_door_are_listed() -> None:
    parts = {part for name in NAMES for part in name.partition("(")[0].partition(":")[2].split(".")}
    assert private_names([DOOR]) - parts == set()


def test_an_enqueued_trial_is_held_to_what_it_names() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.25})
    trial = study.ask()
    frozen = study.trials[0]
    assert fixed_params(frozen) == {"x": 0.25}
    assert ask_value(trial, "x", FloatDistribution(0, 1)) == 0.25
    set_system_attribute(study, frozen, "tuner:note", "kept")
    assert study.trials[0].system_attrs["tuner:note"] == "kept"
    assert study_id(study) == study._storage.get_study_id_from_name(study.study_name)


def test_a_journal_tells_by_its_text_which_lines_begin_a_trial(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with Journal(path, write=True) as journal:
        study = optuna.create_study(storage=optuna.storages.JournalStorage(journal))
        for _ in range(3):
            study.tell(study.ask(), 1.0)
    assert count_trials(path, 0, path.stat().st_size) == (3, path.stat().st_size), JournalOperation.CREATE_TRIAL
