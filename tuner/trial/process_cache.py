"""Data that outlives trials, by key: one dictionary a process."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

_CACHE: dict[str, Any] = {}


def cached(key: str, load: Callable[[], T]) -> T:
    """What `load()` has returned the first time in this process."""
    if key not in _CACHE:
        _CACHE[key] = load()
    return cast(T, _CACHE[key])


def clear_cache() -> None:
    """Forget all that `cached` holds in this process."""
    _CACHE.clear()


def cached_values() -> list[Any]:
    """All that `cached` holds in this process."""
    return list(_CACHE.values())
