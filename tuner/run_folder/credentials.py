"""Credentials in the address of a storage: an address is shown, logged and written down, so it must hold none."""

import re
from urllib.parse import quote, quote_plus, unquote

# Those that this process has got to know, as they may stand in what libraries raise.
_known: set[str] = set()

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
        if is_secret(name):
            return f"as {name}"
    return ""


def is_secret(name: str) -> bool:
    """Whether what is called so is a secret, by the words in it."""
    letters = re.sub("[^a-z0-9]", "", name.lower())
    return letters not in _HARMLESS and _NAMES.search(letters) is not None


def keep_secret(text: str) -> str:
    """Remember a secret, so that `hide_secrets` knows it; gives it back."""
    if text:
        _known.update((text, quote(text, safe=""), quote_plus(text), quote(text, safe=" +")))
    return text


def hide_secrets(text: str) -> str:
    """A text of a library's, to be shown or logged, without the secrets of this process."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
