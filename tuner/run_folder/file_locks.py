"""File locks that belong to this process alone, not to its forked children.

`flock` locks the open file, which a fork shares: a child that lives on, such as a data loader's, would hold the lock
after its parent has closed the file or died.
"""

import fcntl
import os

_held: set[int] = set()
_is_registered = False


def lock(descriptor: int, kind: int) -> None:
    """Lock as `fcntl.flock` does; call `unlock` before you close the file."""
    global _is_registered
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=_let_go)
    _held.add(descriptor)  # a child forked while this waits would share it too
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        _held.discard(descriptor)
        raise


def unlock(descriptor: int) -> None:
    _held.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _let_go() -> None:
    """In a child: replace each file by another under the same number, which others may still close."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _held:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _held.clear()
