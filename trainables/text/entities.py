"""Named entities in sequences of tags, and how well they were found; knows nothing of models or trials.

Tags are those of CoNLL: `B-` and `I-` with the kind of an entity, `O` outside of any (Tjong Kim Sang & De Meulder,
Introduction to the CoNLL-2003 shared task, 2003). An `I-` that continues nothing begins an entity, as in conlleval.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.metrics import precision_recall_fscore_support

OUTSIDE = "O"


class Entity(NamedTuple):
    """An entity of this kind from word `start` up to, not including, word `end`."""

    kind: str
    start: int
    end: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence, in order."""
    found: list[Entity] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, own = tag.partition("-")
        if kind and (prefix != "I" or own != kind):
            found.append(Entity(kind, start, place))
            kind = ""
        if own and not kind:
            kind, start = own, place
    return found


def entity_scores(prefix: str, wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 over the entities of all sentences: found is one whose kind, start and end are right."""
    return {f"{prefix}_{name}": value for name, value in _scores(*_sets(wanted, found)).items() if name != "support"}


def entity_report(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The scores of each kind of entity, and over all of them (micro); its `text` is the same for people."""
    right, told = _sets(wanted, found)
    kinds = sorted({entity.kind for _, entity in right | told})
    table = {kind: _scores(*({one for one in each if one[1].kind == kind} for each in (right, told))) for kind in kinds}
    table["all"] = _scores(right, told)
    return {"entities": table, "text": _as_text(table)}


def token_report(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The scores of words: by their tags, by `B`, `I` and `O` whatever the kind, and averaged over the tags.

    Its `text` is the same for people. `micro` of all words is the accuracy.
    """
    right, told = ([tag for tags in sentences for tag in tags] for sentences in (wanted, found))
    prefixes = [[tag[:1] for tag in tags] for tags in (right, told)]
    averages = {average: _averaged(right, told, average) for average in ("micro", "macro", "weighted")}
    table = {"tags": _by_tag(right, told), "prefixes": _by_tag(*prefixes), "averages": averages}
    rows = {**table["tags"], **table["prefixes"], **{f"{name} average": row for name, row in averages.items()}}
    return {**table, "text": _as_text(rows)}


Found = set[tuple[int, Entity]]


def _by_tag(right: list[str], told: list[str]) -> dict[str, dict[str, float]]:
    names = sorted({*right, *told})
    columns = precision_recall_fscore_support(right, told, labels=names, average=None, zero_division=0)
    measures = ("precision", "recall", "f1", "support")
    return {
        name: dict(zip(measures, map(float, row), strict=True))
        for name, row in zip(names, zip(*columns, strict=True), strict=True)
    }


def _averaged(right: list[str], told: list[str], average: str) -> dict[str, float]:
    names = sorted({*right, *told})
    found = precision_recall_fscore_support(right, told, labels=names, average=average, zero_division=0)[:3]
    return {**dict(zip(("precision", "recall", "f1"), map(float, found), strict=True)), "support": float(len(right))}


def _as_text(table: Mapping[str, Mapping[str, float]]) -> str:
    width = max(map(len, table)) + 2
    lines = [f"{'':{width}}{'precision':>10}{'recall':>10}{'f1':>10}{'support':>10}"]
    for name, row in table.items():
        values = "".join(f"{row[measure]:>10.4f}" for measure in ("precision", "recall", "f1"))
        lines.append(f"{name:{width}}{values}{row['support']:>10.0f}")
    return "\n".join(lines) + "\n"


def _sets(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> tuple[Found, Found]:
    """All entities with the numbers of their sentences."""
    right, told = (
        {(number, entity) for number, tags in enumerate(sentences) for entity in entities_of(tags)}
        for sentences in (wanted, found)
    )
    return right, told


def _scores(right: Found, told: Found) -> dict[str, float]:
    hits = len(right & told)
    precision, recall = hits / max(1, len(told)), hits / max(1, len(right))
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": float(len(right))}
