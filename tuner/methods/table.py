"""The table of methods: a name -> a maker of an Optuna sampler.

A new sampler is made for every trial, seeded by the sweep's seed and the trial's number. Suggestions depend only on the
study, so a killed and resumed sweep gets the same ones.
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

from tuner.methods.bayes import MultiFidelitySampler
from tuner.trial.seeds import derive_seed


def _tpe(seed: int, _: int) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10)


def _qmc(seed: int, sweep_seed: int) -> BaseSampler:
    # One sequence, with one scramble, for all trials; what does not fit into it is drawn anew for each.
    rest = RandomSampler(seed=seed)
    return QMCSampler(seed=sweep_seed, scramble=True, independent_sampler=rest, warn_independent_sampling=False)


# Makers, of the trial's seed and the sweep's. A grid's sampled rest, if it has one, is sampled at random.
METHODS: dict[str, Callable[[int, int], BaseSampler]] = {
    "grid": lambda seed, _: RandomSampler(seed=seed),
    "random": lambda seed, _: RandomSampler(seed=seed),
    "bayes": lambda seed, _: MultiFidelitySampler(seed=seed),
    "tpe": _tpe,
    "gp": lambda seed, _: GPSampler(seed=seed, n_startup_trials=10),
    "cmaes": lambda seed, _: CmaEsSampler(seed=seed, n_startup_trials=10, warn_independent_sampling=False),
    "qmc": _qmc,
    "nsgaii": lambda seed, _: NSGAIISampler(seed=seed),
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
        sampler = METHODS[method](derive_seed(seed, number), seed)
    if isinstance(sampler, MultiFidelitySampler):
        sampler.learn_from(earlier)
    return sampler
