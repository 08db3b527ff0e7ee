"""Credentials in the address of a storage: an address is shown, logged and written down, so it must hold none."""

import re
from urllib.parse import unquote

# In front of the host: a colon, and an @ somewhere after it, since a secret may hold any character. A port may follow
# the colon, but where a bucket stands for the host.
_USER = re.compile(
    r"((s3|gs|gcs|abfss?)://[^/?#]*:|[a-z][a-z0-9+.-]*://[^/?#]*?:(?![0-9]*([/?#]|$))).*@", re.DOTALL | re.IGNORECASE
)
_NAMES = re.compile(r"secret|passw|pwd|token|signature|credential|key$|keyid$|^(sas|sig|auth|authorization)$")
# Says where they are to be looked for, and holds none.
_HARMLESS = ("credentialkind",)


def in_uri(text: str) -> str:
    """Where a URI holds credentials, in words; empty where it holds none. A key's value is never in it."""
    if _USER.match(text):
        return "in front of the host"
    for part in re.split("[?&;#]", text)[1:]:
        name = unquote(part.partition("=")[0])
        letters = re.sub("[^a-z0-9]", "", name.lower())
        if letters not in _HARMLESS and _NAMES.search(letters):
            return f"as {name}"
    return ""
