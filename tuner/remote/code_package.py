"""Packs the code of a sweep, the working directory without ignored files, into one file for a cluster."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from tuner.engine.ray_compat.jobs import max_package_bytes, walk
from tuner.errors import SpecError

# The folder of the checked sweep file and our other files in the package.
SWEEP_FOLDER = ".tuner"
# Run folders are never part of the code, whether or not git ignores them.
_EXCLUDED = ("runs",)


@dataclass(frozen=True)
class Package:
    """A packed working directory.

    Attributes:
        size: of the file, in bytes.
        modules: the trainable's package or module, if it is outside of the working directory.
    """

    path: Path
    num_files: int
    size: int
    modules: tuple[Path, ...]


def pack(
    directory: Path,
    target: Path,
    *,
    ours: Mapping[str, str],
    module: str,
    excludes: Sequence[str] = (),
    limit: int | None = None,
) -> Package:
    """Pack a working directory into a zip file, without what .gitignore, .rayignore and `excludes` name.

    Args:
        ours: texts by name, for files in `SWEEP_FOLDER` that only their owner can read.
        module: the trainable's module, already imported.
        excludes: patterns as in .gitignore.
        limit: in bytes; None for what Ray takes.

    Raises `SpecError` if the package exceeds the limit, or the trainable's own file is left out.
    """
    directory = directory.resolve()
    most = max_package_bytes() if limit is None else limit
    sizes: dict[Path, int] = {}
    with ZipFile(target, "w", ZIP_DEFLATED, strict_timestamps=False) as file:
        for name, text in ours.items():
            file.writestr(f"{SWEEP_FOLDER}/{name}", text)  # with mode 0600, which Ray keeps

        def add(path: Path) -> None:
            if not path.is_file():
                return
            inside = path.relative_to(directory)
            file.write(path, inside)
            sizes[inside] = file.getinfo(inside.as_posix()).compress_size
            if target.stat().st_size >= most:
                raise SpecError([_too_large(directory, sizes, most)])

        walk(directory, [*_EXCLUDED, *excludes], add)
    modules = _modules(directory, module, sizes)
    return Package(target, len(sizes), target.stat().st_size, modules)


def _modules(directory: Path, module: str, names: Collection[Path]) -> tuple[Path, ...]:
    """The trainable's top-level package or module, if it is outside of the working directory."""
    source = Path(str(sys.modules[module].__file__)).resolve()
    if source.is_relative_to(directory) and "site-packages" not in source.parts:
        if source.relative_to(directory) not in names:
            raise SpecError(
                [
                    f"trainable: {source} would not be uploaded, since .gitignore, .rayignore or --exclude exclude it; "
                    "change them to include it."
                ]
            )
        return ()
    depth = module.count(".") + (source.name == "__init__.py")
    return (source.parents[depth - 1] if depth else source,)


def _too_large(directory: Path, sizes: Mapping[Path, int], limit: int) -> str:
    tops: dict[str, int] = {}
    for name, size in sizes.items():
        tops[name.parts[0]] = tops.get(name.parts[0], 0) + size
    largest = sorted(tops.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in largest)
    return (
        f"{directory} is too large to upload: Ray takes at most {limit / 2**20:.0f} MiB of packed files, and this is "
        f"more; most of it is {told}. Leave data out with .gitignore, .rayignore or --exclude, and put it where the "
        "cluster's nodes find it."
    )
