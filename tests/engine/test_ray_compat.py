"""What is private of Ray and used by us is there: each name that a version of Ray lacks is named."""

from pathlib import Path

import pytest
import ray
from packaging.version import Version

from tests.private_names import missing, missing_texts, private_names

# Since which version of Ray the names are there; what is not there yet is said when it is used.
NAMES = {
    "2.48": [
        "ray._private.ray_logging:stdout_deduplicator.skip_re",
        "ray._private.state:actors(actor_id)",
        "ray._private.state:available_resources_per_node",
        "ray._private.utils:get_entrypoint_name",
        "ray._private.worker:Worker.node",
        "ray._private.node:Node.get_session_dir_path",
        "ray._raylet:Config.initialize",
        "ray.actor:ActorHandle._actor_id",
        "ray.experimental.internal_kv:_internal_kv_del(key)",
        "ray.experimental.internal_kv:_internal_kv_exists(key)",
        "ray.experimental.internal_kv:_internal_kv_put(key, value)",
    ],
    "2.53": [
        "ray._raylet:AuthenticationTokenLoader.has_token",
    ],
}
# Texts of `sentences`, and of names that are not in Python, by Ray's files that hold them; by version likewise.
TEXTS = {
    "2.48": {
        "ray/autoscaler/v2/utils.py": ["__internal_head__"],
        "ray/_private/utils.py": ["Version mismatch"],
        "ray/exceptions.py": ["creation task"],
        "ray/_private/services.py": ["--gcs-address=", "--autoscaling-config="],
        "ray/_private/ray_constants.py": [":job_id:", ":actor_name:", ":task_name:"],
        "ray/_raylet.so": ["*** %s received at time="],
        "ray/dashboard/modules/job/job_manager.py": ["already exists"],
    },
    "2.52": {"ray/dashboard/modules/job/job_supervisor.py": ["Running entrypoint for job"]},
}
DOOR = sorted((Path(__file__).parents[2] / "tuner/engine/ray_compat").glob("*.py"))


def skip_before(since: str) -> None:
    if Version(ray.__version__) < Version(since):
        pytest.skip(f"Ray {ray.__version__} is older")


@pytest.mark.parametrize("since", NAMES)
def test_ray_has_the_private_names_that_are_used(since: str) -> None:
    skip_before(since)
    assert missing(NAMES[since]) == []


@pytest.mark.parametrize("since", TEXTS)
def test_ray_says_the_sentences_that_are_read(since: str) -> None:
    skip_before(since)
    assert missing_texts(TEXTS[since]) == []


def test_all_private_names_in_the_door_are_listed() -> None:
    listed = {part for names in NAMES.values() for name in names for part in name.partition("(")[0].split(":")}
    parts = {part for name in listed for part in name.split(".")}
    assert private_names(DOOR) - parts == set()
