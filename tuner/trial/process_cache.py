"""Data that outlives trials, by key: one dictionary per process."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

_CACHE: dict[str, Any] = {}


def cached(key: str, load: Callable[[], T]) -> T:
    """Return what `load()` returned the first time in this process."""
    if key not in _CACHE:
        _CACHE[key] = load()
    return cast(T, _CACHE[key])


def clear_cache() -> None:
    """Forget everything in this process's cache."""
    _CACHE.clear()


def cached_values() -> list[Any]:
    """Everything in this process's cache."""
    return list(_CACHE.values())
