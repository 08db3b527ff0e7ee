"""Places in object storage."""

from pathlib import Path

import pytest

from tuner.errors import SpecError
from tuner.uri import Uri, as_place, is_plain


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
