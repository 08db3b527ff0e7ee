"""What mkdocs does not do by itself: tables made from the code, and pages and links beyond docs/.

In a page, `<!-- table: NAME -->` is replaced by the table of that name. The reports of benchmarks/ are pages of the
site under the same path. A link to another file of the repository becomes plain text there. One to nothing is left, and
fails the build.
"""

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from trainables.training.settings import Range  # noqa: E402
from tuner.spec import keys  # noqa: E402
from tuner.spec.domains import PARAMETER  # noqa: E402
from tuner.spec.fields import Field  # noqa: E402

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_TABLE = re.compile(r"<!-- table: (\S+) -->")
_FENCE = re.compile(r"^(\s*)(```|~~~)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted([*(ROOT / "benchmarks").glob("*.md"), *(ROOT / "benchmarks" / "results").rglob("*.png")]):
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    filled = _TABLE.sub(lambda found: table(found[1]), markdown)
    is_benchmark = page.file.src_uri.startswith("benchmarks/")
    here = ROOT / page.file.src_uri if is_benchmark else ROOT / "docs" / page.file.src_uri
    lines, fence = [], False
    for line in filled.splitlines():
        fence ^= bool(_FENCE.match(line))
        lines.append(line if fence else _LINK.sub(lambda found: _linked(found, here, page, files), line))
    return "\n".join(lines)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return html.replace("<code>Sentinel.UNSET</code>", "")  # what click's newer versions call no default


def _linked(found: re.Match[str], here: Path, page: Page, files: Files) -> str:
    mark, text, target = found.groups()
    if "://" in target or target.startswith(("#", "mailto:")):
        return found[0]
    path, _, anchor = target.partition("#")
    there = (here.parent / path).resolve()
    if not there.exists() or not there.is_relative_to(ROOT):
        return found[0]
    inside = there.relative_to(ROOT / "docs") if there.is_relative_to(ROOT / "docs") else there.relative_to(ROOT)
    if files.get_file_from_path(inside.as_posix()) is None:
        name = there.relative_to(ROOT).as_posix()
        return f"`{name}`" if text.strip("`") in (name, there.name, path) else f"{text} (`{name}`)"
    relative = os.path.relpath(inside, Path(page.file.src_uri).parent)
    return f"{mark}[{text}]({relative}{'#' + anchor if anchor else ''})"


def table(name: str) -> str:
    """`sweep`, `metric`, ... of `tuner.spec.keys`, `parameter`, a rule as `early_terminate.asha`, or `task.MODULE`."""
    kind, _, rest = name.partition(".")
    if kind == "task":
        return _of_task(rest)
    if kind == "early_terminate":
        return _of_fields(keys.EARLY_TERMINATE[rest])
    return _of_fields(PARAMETER if kind == "parameter" else getattr(keys, kind.upper()))


def _of_fields(table: Mapping[str, Field]) -> str:
    rows = [
        (f"`{key}`", field.about, _allowed(field), "required" if field.required else _default(field.default))
        for key, field in table.items()
    ]
    return _markdown(("key", "what it is", "allowed", "if left out"), rows)


def _allowed(field: Field) -> str:
    return "see below" if field.kind == "any" else field.allowed


def _default(value: Any) -> str:
    return "" if value in (None, {}, []) else f"`{value}`"


def _of_task(module: str) -> str:
    """Each parameter of a task: what its Settings say of it."""
    task = import_module(f"trainables.{module}")
    about = dict(_attributes(task.Settings))
    rows = []
    for field in fields(task.Settings):
        default = field.default if field.default is not MISSING else None
        shown = "" if default in (None, "") else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append((f"`{field.name}`", shown, _choices(task._ALLOWED[field.name]), about.get(field.name, "")))
    return _markdown(("parameter", "default", "allowed", "what it is"), rows)


def _choices(allowed: Any) -> str:
    if isinstance(allowed, Range):
        return _range(allowed)
    if callable(allowed):
        return "a text"
    return ", ".join(f"`{str(one).lower() if isinstance(one, bool) else one}`" for one in allowed)


def _range(allowed: Range) -> str:
    open_low, open_high = allowed.is_open
    if math.isinf(allowed.high):
        return f"above {allowed.low:g}" if open_low else f"{allowed.low:g} or more"
    ends = [f"{end:g}" for end, is_open in ((allowed.low, open_low), (allowed.high, open_high)) if is_open]
    return f"{allowed.low:g} to {allowed.high:g}" + (f", without {' and '.join(ends)}" if ends else "")


def _attributes(settings: type) -> Iterator[tuple[str, str]]:
    """The parameters' names and what the docstrings of a Settings class and its bases say of them."""
    for kind in reversed(settings.__mro__):
        _, _, section = (kind.__doc__ or "").partition("Attributes:\n")
        for entry in re.split(r"\n        (?=\S)", f"\n{section.rstrip()}"):
            names, colon, text = entry.strip().partition(":")
            if colon:
                for name in names.split(","):
                    yield name.strip(), " ".join(text.split())


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
