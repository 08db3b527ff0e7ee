"""The files for clusters, tested as far as that goes without a cloud: against Ray's own checks, and for real where a
machine will do."""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil
import pytest
import ray.scripts.scripts
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

from tuner.cli.main import cli
from tuner.engine.cluster import _workers
from tuner.engine.driver.plan import plan_slots
from tuner.results.results import Results
from tuner.spec.sections import Resources
from tuner.spec.sweep_spec import SweepSpec

ROOT = Path(__file__).parents[2]
CLUSTER, DOCS = ROOT / "cluster.yaml", ROOT / "docs" / "clusters"
RAY = version("ray")


@functools.cache
def prepared() -> dict[str, Any]:
    """cluster.yaml with Ray's defaults for AWS filled in, as `ray up` has it."""
    config: dict[str, Any] = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    return config


def options(commands: list[str]) -> dict[str, Any]:
    """The options of the `ray start` among some shell commands, read by Ray's own command line."""
    (words,) = [text.rpartition(";")[2].split() for text in commands if " start " in text]
    assert words[:2] == ["ray", "start"]
    return dict(ray.scripts.scripts.start.make_context("start", words[2:]).params)


def test_the_cluster_file_is_one_by_rays_schema_and_its_checks() -> None:
    validate_config(prepared())
    with pytest.raises(Exception, match="max_worker"):
        validate_config({**prepared(), "max_worker": 3})


def test_the_head_takes_no_trials_and_its_workers_join_it() -> None:
    head, worker = (options(prepared()[f"{kind}_start_ray_commands"]) for kind in ("head", "worker"))
    assert (head["head"], head["num_cpus"], head["port"], head["dashboard_port"]) == (True, 0, 6379, 8265)
    assert head["dashboard_host"] == "127.0.0.1", "who reaches it runs code"
    assert head["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert worker["address"] == "$RAY_HEAD_IP:6379"
    for kind in ("head", "worker"):
        assert "RAY_AUTH_MODE=token" in prepared()[f"{kind}_start_ray_commands"][1]
    assert "~/.ray/auth_token" in prepared()["file_mounts"]


def test_spot_machines_are_the_others_but_for_the_market_and_all_count_as_slots() -> None:
    kinds = prepared()["available_node_types"]
    spot, demand = kinds["gpu_spot"]["node_config"], kinds["gpu"]["node_config"]
    assert spot == {**demand, "InstanceMarketOptions": {"MarketType": "spot"}}
    assert kinds["gpu_spot"]["resources"] == kinds["gpu"]["resources"]
    assert max("gpu", "gpu_spot") == "gpu_spot", "the one that Ray's autoscaler tries first"
    nodes = [{"node:__internal_head__": 1.0}, *_workers(prepared())]
    assert plan_slots(Resources(gpu=1), nodes, "auto") == prepared()["max_workers"] == 8
    assert plan_slots(Resources(gpu=0.25), nodes, "auto") == 32


def test_what_a_person_must_change_is_marked() -> None:
    lines = CLUSTER.read_text().splitlines()
    for key in ("region:", "availability_zone:", "InstanceType:", "head_image:", "worker_image:", "VolumeSize:"):
        at = [number for number, line in enumerate(lines) if line.lstrip().startswith((key, f"Ebs: {{{key}"))]
        assert at
        assert all("CHANGE:" in "".join(lines[number - 4 : number + 1]) for number in at if "gpu:" not in lines), key
    assert len(re.findall("CHANGE:", CLUSTER.read_text())) > 10


@pytest.mark.parametrize("name", ["cluster.yaml", "docs/clusters/rayjob.yaml", "docs/clusters/Dockerfile"])
def test_images_have_the_ray_that_is_tested_and_a_python_that_will_do(name: str) -> None:
    text = (ROOT / name).read_text()
    found = re.findall(r"rayproject/ray:([\d.]+)-py(\d)(\d+)-", text) + re.findall(r'(rayVersion): "([\d.]+)()"', text)
    assert found
    for first, second, third in found:
        assert (second if first == "rayVersion" else first) == RAY
        assert first == "rayVersion" or (int(second), int(third)) in ((3, 11), (3, 12))
    pins = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={RAY}" in pins
    project = re.search(r'"(ray\[.*?)"', (ROOT / "pyproject.toml").read_text())
    assert project
    assert Requirement(project[1]).specifier.contains(RAY)


@pytest.mark.slow
def test_what_the_cluster_file_and_the_image_copy_is_enough_to_install(tmp_path: Path) -> None:
    mounts = {there: here for there, here in prepared()["file_mounts"].items() if there.startswith("~/tuner/")}
    assert all(there == f"~/tuner/{here}" for there, here in mounts.items())
    copied = re.findall(r"^COPY --chown=ray:users (.*) \S+$", (DOCS / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(mounts.values()) == sorted(" ".join(copied).split())
    for name in mounts.values():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*command, str(tmp_path)], check=True, cwd=tmp_path)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    wanted = ("tuner/remote/jobs.py", "trainables/image_classification.py", "search_spaces/fashion_mnist.yaml")
    assert set(wanted) <= set(names)


def test_the_kubernetes_job_runs_a_command_of_ours_on_a_cluster_of_one_image() -> None:
    job = yaml.safe_load((DOCS / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("tuner", "run")
    run = cli.get_command(click.Context(cli), command)
    assert run is not None
    given = run.make_context(command, arguments).params
    assert (given["address"], given["output"], given["id"]) == ("auto", Path("/runs"), "fashion-mnist")
    spec = Path(given["spec"]).relative_to("/home/ray/tuner")
    assert SweepSpec.from_yaml(ROOT / spec).name == "fashion-mnist"
    assert f"COPY --chown=ray:users {spec.parts[0]} " in (DOCS / "Dockerfile").read_text()
    cluster = job["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    pods = [group["template"]["spec"] for group in (head, workers)]
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1
    # The run folder outlives the cluster.
    (mount,) = pods[0]["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == "/runs"
    assert [volume["name"] for volume in pods[0]["volumes"]] == [mount["name"]]


SRUN = """#!/bin/bash
while [[ $1 != --nodelist ]]; do shift; done
shift 2
if [[ $1 == ray ]]; then exec "$@" --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0; fi
exec "$@"
"""
SCONTROL = """#!/bin/bash
[[ $1 == show ]] && printf 'one\\ntwo\\n'
[[ $1 == requeue ]] && touch requeued
exit 0
"""
SWEEP = """
name: tiny
trainable: tests.loops:descent
metric: {name: loss}
early_terminate: none
parameters: {lr: {min: 0.01, max: 0.5}, epochs: {value: 3}, step_s: {value: 0.1}}
run_cap: 4
"""


@pytest.mark.slow
def test_the_slurm_script_runs_a_sweep_on_two_nodes(tmp_path: Path) -> None:
    """For real but for Slurm itself, which is a service of a whole cluster: `srun` and `scontrol` are stand-ins that
    know two nodes, both of them this machine. What they add to `ray start` keeps two on one machine apart."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
        "PATH": f"{bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NAME": "tiny-sweep",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_GPUS_ON_NODE": "0",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    with (tmp_path / "slurm.out").open("w") as out:
        command = ["bash", str(DOCS / "slurm.sh"), "tiny.yaml"]
        job = subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=out, timeout=240)
    assert job.returncode == 0, (tmp_path / "slurm.out").read_text()
    results = Results(tmp_path / "runs" / "tiny-sweep")
    assert results.counts() == {"completed": 4}
    assert results.summary["slots"] == 2
    assert not (tmp_path / "requeued").exists()
    # Both Ray nodes have ended with the job.
    end = time.monotonic() + 40
    while [
        p
        for p in psutil.process_iter(["environ"])
        if (p.info["environ"] or {}).get("SLURM_SUBMIT_DIR") == str(tmp_path)
    ]:
        assert time.monotonic() < end
        time.sleep(0.5)
