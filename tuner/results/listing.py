"""The runs that there are in a place."""

from tuner.object_storage.object_store import ObjectStore
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.trial_files import SPEC_FILE


def list_runs(output: Place) -> list[Place]:
    """The run folders in a folder, newest first; one may have been made a moment ago and hold no study yet."""
    if isinstance(output, Uri):
        store = ObjectStore(output)
        names = store.folders()
        found = dict(zip(names, store.find(*(f"{name}/{SPEC_FILE}" for name in names)), strict=True))
        made = {name: entry.changed_at_s for name, entry in found.items() if entry is not None}
        return [output / name for name in sorted(made, key=lambda name: made[name], reverse=True)]
    folders = [path.parent for path in output.glob(f"*/{SPEC_FILE}") if not path.parent.name.startswith(".")]
    return [*sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]
