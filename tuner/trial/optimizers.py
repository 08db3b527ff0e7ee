"""Loads an optimizer's saved state with changed parameters, as population-based training needs."""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer

# Names for an optimizer's settings that other libraries use beside torch's own name.
_ALIASES = {"learning_rate": "lr", "wd": "weight_decay"}


class TrainedWith:
    """The parameters of a trial, and those that the state it was restored from was trained with."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._plain: dict[str, Any] = json.loads(json.dumps(dict(params), default=repr))
        self._before = self._plain

    def saved(self) -> dict[str, str]:
        """What `restore` takes."""
        return {"params": json.dumps(self._plain)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self._before = json.loads(saved["params"]) if "params" in saved else self._plain

    def load_optimizer(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Load a saved state; see `Trial.load_optimizer`."""
        if self._before == self._plain:
            optimizer.load_state_dict(dict(state))
        else:
            load(optimizer, state)

    def note_on(self, state: Mapping[str, Any]) -> str:
        """What is to be told of the first state that is saved with other parameters than those of the one before."""
        if self._before == self._plain:
            return ""
        before, self._before = self._before, self._plain
        names = ignored(state, before, self._params)
        copied = ", ".join(f"{name} {before[name]:g}" for name in names)
        own = ", ".join(f"{self._params[name]:g}" for name in names)
        told = f"its optimizer continues with {copied}, copied with another trial's state, in the place of {own}"
        return f"{told}: load that by trial.load_optimizer(optimizer, state)" if names else ""


def load(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the statistics of a saved state dict, and keep this optimizer's own settings.

    If a scheduler had changed a learning rate to a fraction of its initial one, the new one is scaled likewise.
    """
    settings = inspect.signature(type(optimizer).__init__).parameters
    groups = []
    for own, before in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True):
        # Other entries are counters: a schedule-free optimizer has a sum of weights for its averages.
        group = {**own, **before, **{name: value for name, value in own.items() if name in settings}}
        if before.get("initial_lr"):
            group |= {"initial_lr": own["lr"], "lr": own["lr"] * before["lr"] / before["initial_lr"]}
        groups.append(group)
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def ignored(state: object, before: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The changed parameters whose old value is still used by an optimizer or a scheduler in a state.

    A value that is neither the old nor the new one may come from a schedule, or from the trainable.
    """
    optimizers = list(_settings(state))
    found = []
    for name, value in params.items():
        old, setting = before.get(name), name.rpartition(".")[2]
        if old is None or old == value or isinstance(old, str | bool | list | dict):
            continue
        setting = _ALIASES.get(setting, setting)
        used = [[group[setting] for group in groups if setting in group] for groups in optimizers]
        if any(values and all(one == old for one in values) for values in used):
            found.append(name)
    return found


def _settings(state: object) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the groups of each optimizer and scheduler in a state, with learning rates as before a schedule."""
    if not isinstance(state, Mapping):
        return
    groups, rates = state.get("param_groups"), state.get("base_lrs")
    if isinstance(groups, list):
        yield [{**group, "lr": group.get("initial_lr", group.get("lr"))} for group in groups]
    if isinstance(rates, list):
        yield [{"lr": rate} for rate in rates]
    for value in state.values():
        yield from _settings(value)
