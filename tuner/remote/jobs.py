"""Sweeps as Ray Jobs: submits, controls, follows and fetches them through the dashboard's address alone.

That address gives neither a shared folder nor a connection to Ray. Small jobs on the node that holds the run folder
run our own command line on it; their code is uploaded with the sweep, so that client and cluster can't differ.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobStatus

from tuner.command import command_line
from tuner.engine.ray_compat import sentences
from tuner.engine.ray_compat.jobs import hide_packages, require_jobs
from tuner.errors import ClusterError, SpecError
from tuner.remote import entrypoint
from tuner.remote.code_package import SWEEP_FOLDER, pack
from tuner.remote.dashboard import Dashboard, check_version
from tuner.remote.folder_archive import digest, unpack
from tuner.run_folder.place import Uri, as_place
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import to_yaml
from tuner.trial.environment import POINTER, as_text

DEFAULT_OUTPUT = "~/runs"
_POLL_S = 0.5
_WAIT_POLL_S = 2.0
# A small job on the run folder starts within seconds, or never.
_START_TIMEOUT_S = 120.0
# How long to wait for a head that does not answer.
_AWAY_S = 120.0
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_ENVIRONMENT_FILE = "environment.json"


@dataclass(frozen=True)
class SweepJob:
    """A sweep on a cluster.

    Attributes:
        id: the sweep's; the same for all its attempts.
        job: the Ray Job of the latest attempt.
        attempt: 1 for the first.
        folder: the run folder, on the cluster.
        node: id of the driver's node, once it has begun.
        exit_code: of the driver, None before its end or if it was killed.
    """

    id: str
    job: str
    attempt: int
    status: JobStatus
    folder: str
    spec_digest: str
    node: str | None
    exit_code: int | None
    message: str

    @property
    def is_over(self) -> bool:
        return bool(self.status.is_terminal())


@dataclass(frozen=True)
class Submitted:
    """A submitted sweep. `sent` says what was uploaded; empty if the job existed already."""

    job: SweepJob
    sent: str


class Cluster:
    """A Ray cluster behind its dashboard's address, such as http://HEAD:8265.

    Raises `ClusterError` if nothing answers there, or another version of Ray does.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        require_jobs()
        hide_packages()
        check_version(self.address)
        with self._sentences():
            self._client = Dashboard(self.address)
        self._env: dict[str, Any] = {"py_modules": [str(Path(__file__).parents[1])]}

    def submit(
        self,
        spec: SweepSpec,
        *,
        id: str | None,
        output: str | None,
        directory: Path,
        excludes: Sequence[str] = (),
        entrypoint_cpus: float = 0.0,
        env_vars: Mapping[str, str] | None = None,
        hidden_env_vars: Mapping[str, str] | None = None,
    ) -> Submitted:
        """Submit a sweep, or resume the one of this id if its job has died; a running or finished one is left alone.

        Args:
            output: the folder on the cluster that will hold the run folder.
            directory: the working directory, which is uploaded.
            entrypoint_cpus: reserved for the driver, which may then run on any node instead of the head. A resumed
                driver runs on its earlier node, where its run folder is.
            env_vars: for the driver and the trials; Ray shows them to everybody with access to the cluster.
            hidden_env_vars: the same, shown to nobody, and set once the processes have started.

        Raises `SpecError` if the id belongs to another sweep, or the directory is too large to upload.
        """
        id = id or f"{spec.name}-{secrets.token_hex(2)}"
        problems = _problems(id, output)
        if problems:
            raise SpecError(problems)
        attempts = self._attempts(id)
        before = attempts[-1] if attempts else None
        # As text: a path on the cluster, such as ~/runs, or a URI.
        folder = str(as_place(output or DEFAULT_OUTPUT) / id) if before is None or output else before.folder
        spec_digest = hashlib.sha256(json.dumps(spec.to_dict(), sort_keys=True).encode()).hexdigest()
        if before is not None:
            _check_same(before, spec_digest, folder)
            if not before.is_over or before.status is JobStatus.SUCCEEDED:
                return Submitted(before, "")
        name = f"{id}.yaml"
        node, is_moved = self._node_of(attempts, folder)
        ours = {name: to_yaml(spec.to_dict())}
        if hidden_env_vars:
            ours[_ENVIRONMENT_FILE] = as_text(hidden_env_vars)
            env_vars = {**(env_vars or {}), POINTER: f"{SWEEP_FOLDER}/{_ENVIRONMENT_FILE}"}
        with tempfile.TemporaryDirectory() as scratch:
            package = pack(
                directory,
                Path(scratch) / "package.zip",
                ours=ours,
                module=spec.trainable.rpartition(":")[0],
                excludes=excludes,
            )
            command = entrypoint.run(name, id, folder, must_exist=is_moved)
            env = {
                "working_dir": str(package.path),
                "py_modules": [*self._env["py_modules"], *map(str, package.modules)],
            }
            try:
                with self._sentences():
                    self._client.submit_job(
                        entrypoint=command,
                        # A sweep's id contains no tilde.
                        submission_id=id if before is None else f"{id}~{len(attempts) + 1}",
                        runtime_env={**env, **({"env_vars": dict(env_vars)} if env_vars else {})},
                        metadata={"tuner_id": id, "tuner_spec": spec_digest, "tuner_folder": folder},
                        entrypoint_num_cpus=entrypoint_cpus or None,
                        entrypoint_label_selector=_only_on(node),
                    )
            except ClusterError as error:
                if sentences.ID_IS_TAKEN not in str(error):
                    raise
                # Somebody was faster with the same id.
                job = self.find(id)
                _check_same(job, spec_digest, folder)
                return Submitted(job, "")
        sent = f"{package.num_files} files of {directory}, {package.size / 2**20:.1f} MiB packed"
        return Submitted(self.find(id), sent)

    def find(self, id: str) -> SweepJob:
        """Find the latest attempt at a sweep. Raises `ClusterError` if the cluster has none of this id."""
        attempts = self._attempts(id)
        if not attempts:
            raise ClusterError(
                f"{self.address} has no sweep {id}: it was never submitted there, or the cluster was restarted since. "
                f"`{command_line('submit', 'SPEC', '--id', id, '--address', self.address)}` starts it, or resumes "
                "its run folder."
            )
        return attempts[-1]

    def call(self, job: SweepJob, *arguments: str) -> tuple[int, str]:
        """Run one of our commands on the run folder's node; return its exit code and output."""
        command = entrypoint.ask(arguments[0], job.folder, arguments[1:])
        with self._helper(job, arguments[0], command) as helper:
            done = self._until(helper, lambda info: info.status.is_terminal())
            if done.driver_exit_code is None:
                raise ClusterError(f"{self.address} could not run `tuner {arguments[0]}`: {_last_line(done.message)}")
            return int(done.driver_exit_code), self._output(helper)

    def end(self, job: SweepJob) -> None:
        """End a job whose driver has not begun."""
        with self._sentences():
            self._client.stop_job(job.job)

    def logs(self, job: SweepJob) -> str:
        """The driver's output so far."""
        with self._sentences():
            text: str = self._client.get_job_logs(job.job)
        return text

    def follow(self, job: SweepJob, tell: Callable[[str], None]) -> None:
        """Pass on the driver's output until it ends; blocks."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job.job):
                tell(text)

        with self._sentences():
            asyncio.run(tail())

    def wait(self, job: SweepJob) -> int:
        """Block until the job is over; return its driver's exit code, 130 if it was ended from outside."""
        seen_at = time.monotonic()
        while not job.is_over:
            time.sleep(_WAIT_POLL_S)
            try:
                job = self.find(job.id)
                seen_at = time.monotonic()
            except ClusterError:
                if time.monotonic() - seen_at > _AWAY_S:
                    raise
        # A shell in between reports a signal as a code above 128.
        is_killed = job.exit_code is None or not 0 <= job.exit_code <= 128
        return 130 if is_killed else int(job.exit_code or 0)

    def fetch(self, job: SweepJob, target: Path, *, best_only: bool) -> int:
        """Download the run folder to `target`; return its packed size in bytes."""
        command = entrypoint.pack(job.folder, best_only=best_only)
        with self._helper(job, "fetch", command) as helper, tempfile.TemporaryDirectory() as scratch:
            info = self._until(helper, lambda info: info.status.is_terminal() or self._output(helper).endswith("}\n"))
            if info.status.is_terminal():
                raise ClusterError(f"{job.folder} could not be packed: {_last_line(self._output(helper))}")
            packed = json.loads(self._output(helper).splitlines()[-1])
            archive = Path(scratch) / "folder.tar.gz"
            with self._sentences():
                self._client.download(str(info.driver_node_id), packed["file"], archive)
            if digest(archive) != packed["sha256"]:
                raise ClusterError(f"{job.folder} did not arrive complete; fetch it again.")
            unpack(archive, target)
        return int(packed["bytes"])

    def _node_of(self, attempts: Sequence[SweepJob], folder: str) -> tuple[str | None, bool]:
        """The node on which a sweep must resume, and whether its earlier node is gone."""
        node = next((attempt.node for attempt in reversed(attempts) if attempt.node), None)
        if node is None or isinstance(as_place(folder), Uri):
            return None, False
        with self._sentences():
            is_alive = node in self._client.nodes()
        return (node, False) if is_alive else (None, True)

    @contextlib.contextmanager
    def _helper(self, job: SweepJob, verb: str, command: str) -> Iterator[str]:
        """Run a small job beside the driver's; it is removed from the cluster's list at the end."""
        name = f"{job.id}-{verb}-{secrets.token_hex(4)}"
        with self._sentences():
            self._client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env=self._env,
                entrypoint_label_selector=_only_on(job.node),
            )
        try:
            yield name
        finally:
            with contextlib.suppress(Exception):
                self._client.stop_job(name)
                self._until(name, lambda info: info.status.is_terminal())
                self._client.delete_job(name)

    def _until(self, name: str, is_done: Callable[[Any], bool]) -> Any:
        started = time.monotonic()
        while True:
            with self._sentences():
                info = self._client.get_job_info(name)
            if is_done(info):
                return info
            if info.status is JobStatus.PENDING and time.monotonic() - started > _START_TIMEOUT_S:
                raise ClusterError(
                    f"{self.address} does not start a job beside the sweep's driver; "
                    "the node that the sweep ran on may be gone."
                )
            time.sleep(_POLL_S)

    def _output(self, name: str) -> str:
        """The output of a job's command, without Ray's output before it."""
        with self._sentences():
            text: str = self._client.get_job_logs(name)
        return text.partition(sentences.JOB_BEGINS)[2].partition("\n")[2]

    def _attempts(self, id: str) -> list[SweepJob]:
        with self._sentences():
            jobs = self._client.list_jobs()
        mine = sorted(
            (job for job in jobs if (job.metadata or {}).get("tuner_id") == id), key=lambda job: job.start_time or 0
        )
        return [
            SweepJob(
                id=id,
                job=str(info.submission_id),
                attempt=number,
                status=info.status,
                folder=info.metadata["tuner_folder"],
                spec_digest=info.metadata["tuner_spec"],
                node=info.driver_node_id,
                exit_code=info.driver_exit_code,
                message=info.message or "",
            )
            for number, info in enumerate(mine, start=1)
        ]

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn errors of Ray's client and the network into sentences."""
        try:
            yield
        except (RayError, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, ClusterError | SpecError):
                raise
            raise ClusterError(f"{self.address}: {_last_line(str(error))}") from error


def _problems(id: str, output: str | None) -> list[str]:
    problems = []
    if not _ID.fullmatch(id):
        problems.append(f"--id {id}: use letters, digits, '.', '_' and '-', 80 at most, the first a letter or a digit.")
    if output is not None and not re.match(r"/|~/|[a-z0-9]+://", output):
        problems.append(
            f"--output {output}: name a folder on the cluster, as /shared/runs, ~/runs or a URI; a relative path "
            "would be in the copy of the working directory, which Ray deletes."
        )
    return problems


def _check_same(job: SweepJob, spec_digest: str, folder: str) -> None:
    if job.spec_digest != spec_digest:
        raise SpecError([f"--id {job.id}: it was submitted with another sweep file; choose another id for this one."])
    if job.folder != folder:
        raise SpecError([f"--id {job.id}: its run folder is {job.folder}; leave out --output to resume it."])


def _only_on(node: str | None) -> dict[str, str] | None:
    return {sentences.NODE_LABEL: node} if node else None


def _last_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
