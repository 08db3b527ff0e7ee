"""Finds the part of a state that can't be saved, after saving has failed."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def unsavable(state: Mapping[Any, Any]) -> str:
    """The first innermost part that can't be read back with `weights_only=True`: `state['a'][0] is a x.Scheduler`.

    Empty if the cause is not the type of a part.
    """
    return _search("state", dict(state), set())


def _search(path: str, value: Any, seen: set[int]) -> str:
    if id(value) in seen or _comes_back(value):
        return ""
    seen.add(id(value))
    found = (_search(f"{path}{place}", item, seen) for place, item in _parts(value))
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    is_fine = kind in (dict, list, tuple) or isinstance(value, torch.Tensor)
    return next(filter(None, found), "" if is_fine else f"{path} is a {name}")


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"'s key {key!r}", key
            yield f"[{key!r}]", item
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))


def _comes_back(value: Any) -> bool:
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True, map_location="cpu")
    except Exception:
        return False
    return True
