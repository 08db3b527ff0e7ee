"""The command line in processes of its own, for tests that signal it or ask it things from outside."""

import atexit
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Each is forked from a process that has imported what all of them need, which would take every one of them 4 s.
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tuner.cli.main", "tuner.engine.driver.run", "tests.loops"])


class Command:
    """`tuner` with these arguments, running; its output, both streams in one, is kept."""

    def __init__(self, *args: str, **environment: str) -> None:
        self._output = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - lives as long as this
        given = (args, self._output.name, str(Path.cwd()), {**os.environ, **environment})
        self._process = _FORKED.Process(target=_main, args=given)
        # The process that they are forked from starts with the first one, and imports what is found from here.
        with contextlib.chdir(Path(__file__).parents[1]):
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; -n where signal n has ended it."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Blocks until it is gone, which it may have been before."""
        self._process.kill()
        self._process.join()

    def finish(self, timeout: float = 120.0) -> tuple[int, str]:
        """Wait for its end; its exit code, and all that it has printed."""
        self._process.join(timeout)
        assert self.returncode is not None, f"still running after {timeout:g} s: {self.output()}"
        return self.returncode, self.output()

    def output(self) -> str:
        """What it has printed so far."""
        self._output.seek(0)
        return self._output.read()

    def until(self, is_true: Callable[[], bool], timeout: float = 120.0) -> None:
        """Wait for something that happens while it runs."""
        deadline = time.monotonic() + timeout
        while not is_true():
            assert self.returncode is None, self.finish()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.2)


def tuner(*args: str) -> tuple[int, str]:
    """Run a command to its end: its exit code, and all that it has printed."""
    return Command(*args).finish()


def _main(args: tuple[str, ...], output: str, cwd: str, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["tuner", *args]
    from tuner.cli.main import main

    try:
        main()
    finally:
        # A process of multiprocessing ends without what others do at their end.
        atexit._run_exitfuncs()
