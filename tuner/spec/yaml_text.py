"""YAML 1.2 as sweep files have it: read with a sentence for each mistake, written so that it is read back the same."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tuner.errors import SpecError


def to_yaml(data: Mapping[str, Any]) -> str:
    """What `from_yaml` reads back as the same values."""
    stream = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 1 << 20  # a folded text does not always come back as it was
    yaml.dump(dict(data), stream)
    return stream.getvalue()


def load_yaml(path: Path) -> Any:
    """The values in a file; raises `SpecError` where it is not there, or is no YAML."""
    try:
        content = path.read_bytes()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
            raise SpecError([f"{path}: the file is UTF-16 text, as some editors write it: save it as UTF-8."])
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
