"""`Field`, one key of the sweep file: which values it allows, and the sentence that refuses others.

The checks and the JSON schema are made from the same tables of fields, so they can't disagree.
"""

import datetime
import difflib
import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.spec.other_tools import name_here

# A number as YAML 1.2 and Python have it.
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")

_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True)
class Field:
    """What one key of a mapping may hold.

    Attributes:
        kind: the type's name in JSON schema, "any" if the reader of the key checks more than one type.
        about: what the key is for; editors show it.
        default: stands for an absent key.
        minimum, above, maximum: bounds of a number; `above` is exclusive.
        choices: the allowed texts; for a number, texts that are allowed as well.
        hint: the advice for a text that does not fit, or a number that is too low.
    """

    kind: Literal["string", "integer", "number", "boolean", "array", "object", "any"]
    about: str
    required: bool = False
    default: Any = None
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    hint: str = ""

    def problem(self, where: str, value: Any) -> str | None:
        """The sentence that refuses `value` at `where`, or None if it is allowed."""
        if self._accepts(value):
            return None
        return f"{where} must be {self.allowed}; got {quoted(value)}{self._advice(value)}."

    def clean(self, value: Any) -> Any:
        """Convert an accepted value: `1e3` becomes an int if a whole number is wanted."""
        return int(value) if self.kind == "integer" and isinstance(value, float) else value

    @property
    def allowed(self) -> str:
        if self.choices and self.kind == "string":
            return f"one of {', '.join(self.choices)}"
        words = [*self.choices, self._allowed_kind()]
        return " or ".join(words)

    def json_schema(self) -> dict[str, Any]:
        """This field in JSON schema, without the content of a list or mapping."""
        bounds = {"minimum": self.minimum, "exclusiveMinimum": self.above, "maximum": self.maximum}
        typed: dict[str, Any] = {} if self.kind == "any" else {"type": self.kind}
        typed |= {key: bound for key, bound in bounds.items() if bound is not None}
        if self.pattern:
            typed["pattern"] = f"^(?:{self.pattern})$"
        if self.choices and self.kind == "string":
            typed["enum"] = list(self.choices)
        elif self.choices:
            typed = {"anyOf": [{"enum": list(self.choices)}, typed]}
        schema = {"description": self.about, **typed}
        return schema if self.default is None else {**schema, "default": self.default}

    def _accepts(self, value: Any) -> bool:
        if self.kind == "any" or (isinstance(value, str) and value in self.choices):
            return True
        if self.kind == "string":
            return isinstance(value, str) and not self.choices and bool(re.fullmatch(self.pattern or ".*", value))
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind in ("array", "object"):
            return isinstance(value, list | tuple if self.kind == "array" else Mapping)
        if not is_number(value) or (self.kind == "integer" and value != int(value)):
            return False
        return not (
            (self.minimum is not None and value < self.minimum)
            or (self.above is not None and value <= self.above)
            or (self.maximum is not None and value > self.maximum)
        )

    def _allowed_kind(self) -> str:
        kind = _KINDS[self.kind]
        low = self.minimum if self.above is None else self.above
        if low is None:
            return kind
        if self.maximum is not None:
            return f"{kind} {'from' if self.above is None else 'above'} {low:g} up to {self.maximum:g}"
        return f"{kind} of {low:g} or more" if self.above is None else f"{kind} above {low:g}"

    def _advice(self, value: Any) -> str:
        if isinstance(value, str) and self.kind in ("number", "integer") and (advice := _advice_on_number(value)):
            return advice
        if value is None and not self.choices:
            return ": give one, or remove the key"
        if isinstance(value, str) and self.choices:
            return _advice_on_choice(value, self.choices)
        too_low = self.minimum is not None and is_number(value) and value < self.minimum
        return f": {self.hint}" if self.hint and (self.kind == "string" or too_low) else ""


def read(where: str, node: Any, table: Mapping[str, Field]) -> tuple[dict[str, Any], list[str]]:
    """Read the values of a mapping, with defaults filled in, and its problems.

    A value with a problem or a misspelt key is left out.

    Args:
        where: path of the mapping in the file, such as `budget`; empty for the whole file.
    """
    if not isinstance(node, Mapping):
        return {}, [f"{where or 'the sweep'} must be a mapping with {listed(table)}; got {quoted(node)}."]
    problems = unknown_keys(where, node, table)
    values: dict[str, Any] = {}
    misspelt = misspelt_keys(node, table)
    for key, field in table.items():
        path = joined(where, key)
        if key not in node and key in misspelt:
            continue
        if key not in node and field.required:
            problems.append(f"{path} is missing: give {field.about}.")
        elif key not in node:
            values[key] = field.default
        elif found := field.problem(path, node[key]):
            problems.append(found)
        else:
            values[key] = field.clean(node[key])
    return values, problems


def unknown_keys(where: str, node: Mapping[Any, Any], known: Collection[str]) -> list[str]:
    return [
        f"{joined(where, key)} is not a known key{_advice_on_key(key, known)}; known here: {listed(known)}."
        for key in node
        if key not in known
    ]


def unknown(path: str, name: Any, known: Collection[Any], noun: str) -> str:
    return f"{path} is not a known {noun}{did_you_mean(name, known)}; known here: {listed(known)}."


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The given values: None means not given."""
    return {key: value for key, value in values.items() if value is not None}


def misspelt_keys(node: Mapping[Any, Any], known: Collection[str]) -> set[str]:
    """The keys that a mapping's unknown keys probably stand for; a path if a key belongs elsewhere."""
    return {_meant_key(key, known) for key in node if key not in known} - {""}


def did_you_mean(name: Any, known: Collection[Any]) -> str:
    """`, did you mean X` with the nearest known name; empty if none is near."""
    near = nearest(name, known)
    return f", did you mean {near}" if near else ""


def nearest(name: Any, known: Collection[Any]) -> str:
    """The known name nearest to an unknown one; empty if none is near."""
    near = difflib.get_close_matches(str(name).lower(), [str(one) for one in known], n=1)
    return near[0] if near else ""


def nearest_choice(name: Any, known: Collection[str]) -> str:
    """As `did_you_mean`, for values of the file, some of which other tools name differently."""
    own = name_here(str(name))
    return own if own is not None and own in ("", *known) else nearest(name, known)


def _meant_key(key: Any, known: Collection[str]) -> str:
    own = name_here(str(key))
    if own is None:
        return nearest(key, known)
    last = own.rpartition(".")[2]
    return last if last in known else own if "." in own or not own else nearest(key, known)


def _advice_on_key(key: Any, known: Collection[str]) -> str:
    near = _meant_key(key, known)
    if near:
        return f", did you mean {near}"
    return ", and there is no such thing here" if name_here(str(key)) == "" else ""


def _advice_on_choice(value: str, choices: Collection[str]) -> str:
    near = nearest_choice(value, choices)
    if near:
        return f", did you mean {near}"
    return ", and there is no such thing here" if name_here(value) == "" else ""


def is_number(value: Any) -> bool:
    """Whether it is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def quoted(value: Any) -> str:
    """A value as a message shows it: as the file writes it, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date):
        return f"the date {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) < 80 else f"the text {value[:77]!r}..."
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of some {int(value.bit_length() * 0.30103) + 1} digits, which is too large"
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def listed(names: Collection[Any]) -> str:
    return ", ".join(str(name) for name in names)


def joined(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def without_numpy(node: Any) -> Any:
    """Replace numpy's numbers, texts and arrays by Python's."""
    if isinstance(node, Mapping):
        return {key: without_numpy(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(map(without_numpy, node))
    # By its name, to avoid importing numpy.
    return node.tolist() if type(node).__module__ == "numpy" and hasattr(node, "tolist") else node


def word(value: Any) -> str:
    """A value as the file writes it: null, [1, 2], or a text, in quotes if it would mean something else."""
    is_clear = isinstance(value, str) and value not in ("", "null", "true", "false") and not _NUMBER.fullmatch(value)
    return str(value) if is_clear else json.dumps(value, ensure_ascii=False, default=str)


def _advice_on_number(text: str) -> str:
    if _NUMBER.fullmatch(text.strip()):
        return ": write the number without quotes"
    if found := _NUMBER.match(text):
        return f": write the number alone, {found.group()}" if text[found.end() :].isalpha() else ""
    return ": it must be finite" if text.strip().lstrip("+-.").lower() in ("inf", "infinity", "nan") else ""
