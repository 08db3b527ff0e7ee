"""The table of methods: a name -> a maker of an Optuna sampler.

A sampler is made afresh for every trial, seeded by the sweep's seed and the trial's number: what is asked for
depends on the study alone, so a sweep that was killed asks the same as one that was not.
"""

import warnings
from collections.abc import Callable, Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from tuner.methods.multifidelity import MultiFidelitySampler
from tuner.seeds import derive_seed


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10)


# A grid's sampled rest, if it has one, is sampled at random.
METHODS: dict[str, Callable[[int], BaseSampler]] = {
    "grid": lambda seed: RandomSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "bayes": _tpe,
    "tpe": _tpe,
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=10),
    "multifidelity": lambda seed: MultiFidelitySampler(seed=seed),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=10, warn_independent_sampling=False),
    "qmc": lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
    "nsgaii": lambda seed: NSGAIISampler(seed=seed),
}


def make_sampler(method: str, seed: int, number: int, earlier: Sequence[Sequence[FrozenTrial]] = ()) -> BaseSampler:
    """The sampler that chooses trial `number` of a sweep with this seed.

    Raises ValueError for an unknown method.

    Args:
        earlier: the trials of earlier sweeps, for those that learn from them.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = METHODS[method](derive_seed(seed, number))
        if isinstance(sampler, QMCSampler):
            # The sequence is one for all trials, with one scramble; what does not fit into it is drawn for each anew.
            rest = RandomSampler(seed=derive_seed(seed, number))
            sampler = QMCSampler(seed=seed, scramble=True, independent_sampler=rest, warn_independent_sampling=False)
    if isinstance(sampler, MultiFidelitySampler):
        sampler.learn_from(earlier)
    return sampler
