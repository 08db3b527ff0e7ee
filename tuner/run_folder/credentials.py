"""Keeps credentials out of addresses of storage, which are shown, logged and written down."""

import re
from urllib.parse import quote, quote_plus, unquote

# The secrets that this process has seen, in the forms that libraries' error messages may contain.
_known: set[str] = set()

# Before the host: a colon, and an @ somewhere after it, since a secret may contain any character. A port may follow
# the colon, unless the host is a bucket.
_USER = re.compile(
    r"((s3|gs|gcs|abfss?)://[^/?#]*:|[a-z][a-z0-9+.-]*://[^/?#]*?:(?![0-9]*([/?#]|$))).*@", re.DOTALL | re.IGNORECASE
)
_NAMES = re.compile(r"secret|passw|pwd|token|signature|credential|key$|keyid$|^(sas|sig|auth|authorization)$")
# Says where to look for credentials, and holds none.
_HARMLESS = ("credentialkind",)


def in_uri(text: str) -> str:
    """Say where a URI holds credentials, without their values; empty if it holds none."""
    if _USER.match(text):
        return "in front of the host"
    for part in re.split("[?&;#]", text)[1:]:
        name = unquote(part.partition("=")[0])
        if is_secret(name):
            return f"as {name}"
    return ""


def is_secret(name: str) -> bool:
    """Whether a variable is a secret, judged by the words in its name."""
    letters = re.sub("[^a-z0-9]", "", name.lower())
    return letters not in _HARMLESS and _NAMES.search(letters) is not None


def keep_secret(text: str) -> str:
    """Remember a secret for `hide_secrets`, and return it."""
    if text:
        _known.update((text, quote(text, safe=""), quote_plus(text), quote(text, safe=" +")))
    return text


def hide_secrets(text: str) -> str:
    """Remove the secrets of this process from a library's text, before it is shown or logged."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
