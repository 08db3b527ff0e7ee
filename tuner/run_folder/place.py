"""`Uri`, a place in object storage, as `Path` is a local one."""

import re
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import ObjectStoreError, SpecError
from tuner.run_folder.credentials import in_uri

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:$")
# Where each storage's tools look for credentials.
_WAYS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile with AWS_PROFILE",
    **dict.fromkeys(("gs", "gcs"), "name the key's file in GOOGLE_APPLICATION_CREDENTIALS"),
    **dict.fromkeys(
        ("abfs", "abfss"), "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or log in with az"
    ),
    "hdfs": "log in with kinit",
}
_WAY = "put them where its tools look for them: the environment, or a profile"


@dataclass(frozen=True)
class Uri:
    """A URI such as s3://bucket/runs?region=eu-west-1; `/` keeps the query at the end.

    Raises `ObjectStoreError` if it contains credentials, before it can be shown.
    """

    text: str

    def __post_init__(self) -> None:
        if where := in_uri(self.text):
            scheme = self.text.partition("://")[0]
            raise ObjectStoreError(
                f"{scheme}://...: leave the credentials out of the URI ({where}), which is shown, logged and recorded; "
                f"{_WAYS.get(scheme.lower(), _WAY)}."
            )

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str | Path) -> "Uri":
        path, mark, query = self.text.partition("?")
        return Uri(f"{path.rstrip('/')}/{name}{mark}{query}")

    @property
    def path(self) -> str:
        return self.text.partition("?")[0].rstrip("/")

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Uri":
        mark, query = self.text.partition("?")[1:]
        return Uri(f"{self.path.rpartition('/')[0]}{mark}{query}")


def is_plain(name: str) -> bool:
    """Whether an object's name is a normal path within a folder, on every machine."""
    return not ("\\" in name or "\0" in name or {"", ".", ".."} & set(name.split("/")))


Place = Path | Uri


def as_place(given: str | Path | Uri) -> Place:
    """A folder, or a URI if it begins with a scheme. Raises `SpecError` for a URI that was turned into a `Path`."""
    if isinstance(given, str):
        return Uri(given) if _SCHEME.match(given) else Path(given)
    if isinstance(given, Path) and given.parts and _COLLAPSED.match(given.parts[0]):
        raise SpecError([f"{given}: give a URI as a text; a Path loses one of its slashes."])
    return given
