"""What Ray Tune's schedulers were told, and keep to themselves. Gone: assume what they are by default."""

from typing import Any


def metric_of(scheduler: Any) -> str | None:
    """What a scheduler watches; None where it was not told."""
    found: str | None = getattr(scheduler, "_metric", None)
    return found


def time_attribute(scheduler: Any, default: str) -> str:
    """What a scheduler counts time by."""
    return str(getattr(scheduler, "_time_attr", default))


def full_length(scheduler: Any) -> int | None:
    """The step at which a scheduler stops trials that did well; each calls it by a name of its own."""
    found = getattr(scheduler, "_max_t", None) or getattr(scheduler, "_max_t_attr", None)
    return found if isinstance(found, int) else None
