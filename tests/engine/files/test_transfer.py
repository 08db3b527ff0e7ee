from pathlib import Path

import pytest

from tuner.engine.files import transfer
from tuner.engine.files.transfer import Part, Upload, list_files, plan, read, write


def make(folder: Path, sizes: dict[str, int]) -> dict[str, bytes]:
    contents = {name: bytes(i % 251 for i in range(size)) for name, size in sizes.items()}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return contents


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_files(folder)}


@pytest.mark.parametrize("sizes", [{}, {"a": 0}, {"a": 10}, {"a": 25, "b": 0, "c": 5}, {"a": 3, "b/c": 30, "d": 7}])
def test_a_plan_holds_every_byte_once_in_messages_of_bounded_size(sizes: dict[str, int]) -> None:
    messages = plan(sizes, limit=10)
    parts = [part for message in messages for part in message]
    for name, size in sizes.items():
        own = [part for part in parts if part.name == name]
        assert own[0].offset == 0
        assert [part.offset + part.size for part in own[:-1]] == [part.offset for part in own[1:]]
        assert sum(part.size for part in own) == size
    assert all(sum(part.size for part in message) <= 10 for message in messages)
    assert all(messages) or messages == [[]]


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_folder_arrives_as_it_was_and_only_with_its_last_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    monkeypatch.setattr(transfer, "MESSAGE_BYTES", 10)
    sent = make(tmp_path / "here", {"a": 25, "b": 0, "c/d": 13, "same": 3})
    old = make(tmp_path / "there", {"old": 4, "same": 1})
    (tmp_path / "there" / "checksums.json").write_text('{"same": [], "../outside": []}')
    (tmp_path / "outside").touch()
    ours = {"checksums.json": (tmp_path / "there" / "checksums.json").read_bytes()}
    old |= ours
    upload = Upload(tmp_path / "there", tmp_path / ".scratch", is_whole)
    messages = list(transfer.send(tmp_path / "here", list_files(tmp_path / "here")))
    assert len(messages) > 3
    for message, is_first, is_last in messages:
        assert contents(tmp_path / "there") == old
        # Twice, as where nobody knows whether it has arrived.
        write(upload, message, is_first=is_first, is_last=is_last)
        write(upload, message, is_first=is_first, is_last=is_last)
    # What is not the checkpoint's own in there is somebody's.
    assert contents(tmp_path / "there") == {"old": old["old"], **sent, **({} if is_whole else ours)}
    assert (tmp_path / "outside").exists()
    assert not upload.scratch.exists()


def test_an_upload_whose_place_was_cleaned_up_fails(tmp_path: Path) -> None:
    make(tmp_path / "here", {"a": 20})
    upload = Upload(tmp_path / "there", tmp_path / ".scratch", True)
    write(upload, read(tmp_path / "here", [Part("a", 0, 10)]), is_first=True, is_last=False)
    (tmp_path / ".scratch" / "a").unlink()
    (tmp_path / ".scratch").rmdir()
    with pytest.raises(FileNotFoundError):
        write(upload, read(tmp_path / "here", [Part("a", 10, 10)]), is_first=False, is_last=True)
    assert not (tmp_path / "there").exists()
