"""Reads sweep files as YAML 1.2, with a sentence for each mistake, and writes YAML that reads back unchanged."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tuner.errors import SpecError


def to_yaml(data: Mapping[str, Any]) -> str:
    """Write values as YAML that `from_yaml` reads back unchanged."""
    stream = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 1 << 20  # a folded text does not always read back unchanged
    yaml.dump(dict(data), stream)
    return stream.getvalue()


def load_yaml(path: Path) -> Any:
    """Load the values in a file. Raises `SpecError` if there is no such file, or if it is not YAML."""
    try:
        content = path.read_bytes()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
            raise SpecError([f"{path}: the file is UTF-16 text, as some editors write: save it as UTF-8."])
        return YAML(typ="safe", pure=True).load(content.decode("utf-8"))
    except FileNotFoundError:
        problem = f"{path}: there is no such file; give the path of a sweep file."
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path}: the file can't be read as UTF-8 text: {error}."
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = str(error.problem or error.context).splitlines()[0]
        problem = f"{path}{place}: this is not valid YAML: {reason}."
    except YAMLError as error:
        problem = f"{path}: this is not valid YAML: {str(error).splitlines()[0]}."
    raise SpecError([problem])
