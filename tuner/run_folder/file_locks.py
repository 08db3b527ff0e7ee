"""Locks on files that belong to this process alone: the children that it forks hold none of them.

A lock of flock is one with the open file, which a fork shares: a child that lives on, such as a data loader's, would
hold it after its parent has closed the file, or has died. Knows nothing of what is locked.
"""

import fcntl
import os

_held: set[int] = set()
_is_registered = False


def lock(descriptor: int, kind: int) -> None:
    """As `fcntl.flock`; to be given back with `unlock` before the file is closed."""
    global _is_registered
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=_let_go)
    _held.add(descriptor)  # a child that is forked while this waits would have it too
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        _held.discard(descriptor)
        raise


def unlock(descriptor: int) -> None:
    _held.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _let_go() -> None:
    """In a child: put something else in the place of each file, whose number others may still close."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _held:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _held.clear()
