"""Places in object storage."""

from pathlib import Path

import pytest

from tuner.errors import ObjectStoreError, SpecError
from tuner.run_folder.place import Uri, as_place, is_plain


def test_a_uri_is_joined_and_taken_apart_in_front_of_its_query() -> None:
    uri = as_place("s3://bucket/runs/?scheme=http&endpoint_override=localhost:9000")
    assert isinstance(uri, Uri)
    run = uri / "digits-7f3a"
    assert str(run) == "s3://bucket/runs/digits-7f3a?scheme=http&endpoint_override=localhost:9000"
    assert (run.name, run.path) == ("digits-7f3a", "s3://bucket/runs/digits-7f3a")
    assert str(run.parent) == "s3://bucket/runs?scheme=http&endpoint_override=localhost:9000"


def test_what_has_no_scheme_is_a_folder() -> None:
    assert as_place("runs/a") == Path("runs/a")
    assert as_place(Path("/runs")) == Path("/runs")
    assert as_place(Uri("gs://b/x")) == Uri("gs://b/x")


def test_a_uri_that_was_made_a_path_is_refused() -> None:
    with pytest.raises(SpecError, match="give a URI as a text"):
        as_place(Path("s3://bucket/runs"))


def test_a_name_that_is_plain_is_a_path_in_a_folder() -> None:
    for name in ("a", "a/b", ".a", "a..b/...", "a b/ä:c", "trials/0000/metrics.jsonl"):
        assert is_plain(name), name
    for name in ("", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "../a", "a/../b", "a/..", "a\\b", "\\a", "a\0b"):
        assert not is_plain(name), name


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hush@bucket/runs",
        "s3://AKIA:/hush/x@bucket/runs",
        "s3://AKIA:9/hush@bucket/runs",
        "abfs://:hush@account.blob.core.windows.net/c/runs",
        "fsspec+ftp://user:hush@host:21/runs",
        "abfs://c@account/runs?client_id=a&client_secret=hush",
        "abfss://c@account/runs?tenant_id=a&Client%5FSecret=hush",
        "s3://bucket/runs?region=eu&secret_key=hush",
        "s3://bucket/runs?access_key=hush",
        "s3://bucket/runs?session_token=hush",
        "s3://bucket/runs?X-Amz-Signature=hush&X-Amz-Date=1",
        "https://account.blob.core.windows.net/c?sv=2024&sig=hush",
        "abfs://c@account/runs?sas_token=hush",
        "abfs://c@account/runs?account_key=hush",
        "gs://bucket/runs#access_token=hush",
        "fsspec+sftp://host/runs?password=hush",
    ],
)
def test_a_uri_with_credentials_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ObjectStoreError, match=r"^[a-z0-9+]+://\.\.\.: leave the credentials out of the URI") as caught:
        as_place(text)
    assert "hush" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs?region=eu-west-1&endpoint_override=minio.lan:9000&scheme=http",
        "s3://bucket/a:b@c",
        "hdfs://user@name-node:8020/runs/a@b:c",
        "abfs://container@account.dfs.core.windows.net/runs?credential_kind=environment&enable_tls=true",
        "gs://anonymous@bucket/tokens/secret=1?retry_limit_seconds=5",
        "hdfs://h/x?kerb_ticket=/tmp/krb5cc_0&replication=2",
        "file:///store/monkey?",
    ],
)
def test_a_uri_without_credentials_is_taken(text: str) -> None:
    assert str(as_place(text)) == text


def test_the_way_is_that_of_the_storage() -> None:
    for scheme, way in (
        ("s3", "AWS_PROFILE"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("abfs", "AZURE_CLIENT_SECRET"),
    ):
        with pytest.raises(ObjectStoreError, match=way):
            as_place(f"{scheme}://a:b@c/d")
