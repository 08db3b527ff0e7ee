"""Mistakes beside each other: each is told, whatever else is wrong, and none because of another one."""

import random
from collections.abc import Mapping

import pytest

from tests.bad_specs import BAD, GOOD
from tuner.errors import SpecError
from tuner.spec.sweep_spec import SweepSpec

SINGLE = {name: (data, sentence) for name, data, sentence, _ in BAD if isinstance(data, dict)}
SECTIONS = ("budget", "resources", "checkpoints", "failures")
# Mistakes that hang on keys which they do not change themselves, or on all parameters.
ALL = "all parameters"
HANGS_ON = {
    "no trainable": {"program"},
    "endless": {"run_cpa", "num_samples", "budget.hour", "budget.hours", "budget.gpu_hours", "method=grid", ALL},
    "gpu_hours, no gpu": {"budget.hours", "resources.gpu"},
    "grid of a range": {"method=grid", ALL},
    "grid under sampled": {"method=grid"},
    "start_with unknown": {ALL},
    "start_with outside": {ALL},
    "no parameters": {ALL, "parameters"},
    "no parameter": {ALL, "parameters"},
    "parameters list": {ALL, "parameters"},
    "pbt without sampled": {ALL, "parameters"},
}
MARKS = "§¶"


def changes(name):
    """What a mistake changes in the good sweep: the values by path."""
    data, _ = SINGLE[name]
    found = {}
    for key in {**GOOD, **data}:
        if key == "parameters" and key in data and data[key] != GOOD[key] and ALL not in HANGS_ON.get(name, ()):
            continue  # merged by name, not by key
        if key in SECTIONS and isinstance(data.get(key), Mapping):
            found |= {f"{key}.{leaf}": value for leaf, value in data[key].items()}
        elif key not in data or key not in GOOD or data[key] != GOOD[key]:
            found[key] = data.get(key, "absent")
    return found


def touched(name):
    keys = set(changes(name)) | HANGS_ON.get(name, set())
    data, _ = SINGLE[name]
    if isinstance(data.get("metric"), list) and len(data["metric"]) > 1:
        keys |= {"early_terminate", "method=grid"}
    rule = data.get("early_terminate")
    if rule == "pbt" or (isinstance(rule, Mapping) and rule.get("type") == "pbt"):
        keys.add("method=grid")
    # A section that is no mapping stands in the way of all its keys.
    leaves = ("hour", "hours", "gpu_hours", "cpu", "gpu", "workers", "keep", "retries")
    return keys | {f"{key}.{leaf}" for key in keys & set(SECTIONS) for leaf in leaves}


def parameters_of(name, mark):
    """A mistake's own parameters, under names of their own."""
    data, _ = SINGLE[name]
    given = data.get("parameters")
    if given == GOOD["parameters"] or ALL in HANGS_ON.get(name, ()):
        return {}
    names = {key: f"{mark}{key}" if isinstance(key, str) else key for key in given}
    marked = {}
    for key, node in given.items():
        if isinstance(node, Mapping) and isinstance(node.get("when"), Mapping):
            node = {**node, "when": {names.get(parent, parent): value for parent, value in node["when"].items()}}
        marked[names[key]] = node
    return marked


def merged(*mistakes):
    data = {**GOOD, "parameters": dict(GOOD["parameters"])}
    for mistake, mark in zip(mistakes, MARKS * len(mistakes), strict=False):
        for path, value in changes(mistake).items():
            key, _, leaf = path.partition(".")
            if leaf:
                data[key] = {**data.get(key, {}), leaf: value}
            else:
                data[key] = value
            if value == "absent":
                del data[key]
        if own := parameters_of(mistake, mark):
            data["parameters"] |= own
    return data


def fits(one, other):
    """Whether two mistakes can stand in one file."""
    a, b = touched(one), touched(other)
    own = [bool(parameters_of(name, "")) for name in (one, other)]
    if all(own) and "name of a parameter" in (one, other):
        return True
    return not a & b and not (own[0] and "parameters" in b) and not (own[1] and "parameters" in a)


def problems_of(data):
    with pytest.raises(SpecError) as caught:
        SweepSpec.from_dict(data)
    return [problem.translate({ord(mark): None for mark in MARKS}) for problem in caught.value.problems]


def check(mistakes):
    problems = problems_of(merged(*mistakes))
    left = list(problems)
    for mistake in mistakes:
        sentence = SINGLE[mistake][1].split("; known here")[0]
        told = [problem for problem in left if sentence in problem]
        assert told, f"{mistakes}: {mistake!r} is not told: {problems}"
        left.remove(told[0])
    assert not left, f"{mistakes}: told because of others, or twice: {left}"


@pytest.mark.parametrize("one", SINGLE)
def test_both_of_two_mistakes_are_told(one):
    names = list(SINGLE)
    partners = [other for other in names[names.index(one) + 1 :] if fits(one, other)]
    for other in partners:
        check((one, other))


def test_most_pairs_are_looked_at():
    names = list(SINGLE)
    pairs = [(a, b) for index, a in enumerate(names) for b in names[index + 1 :]]
    assert sum(fits(a, b) for a, b in pairs) > 0.9 * len(pairs)


@pytest.mark.parametrize("seed", range(40))
def test_all_of_many_mistakes_are_told(seed):
    rng = random.Random(seed)
    chosen = []
    for name in rng.sample(list(SINGLE), len(SINGLE)):
        has_own = sum(bool(parameters_of(other, "")) for other in [*chosen, name])
        if has_own <= len(MARKS) and all(fits(name, other) for other in chosen):
            chosen.append(name)
    assert len(chosen) > 5
    rng.shuffle(chosen)
    # Each mark stands for one mistake with parameters of its own.
    check(sorted(chosen, key=lambda name: not parameters_of(name, "")))
