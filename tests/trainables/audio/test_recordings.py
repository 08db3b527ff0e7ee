import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from trainables.audio.recordings import (
    TEST_LIST,
    VALIDATION_LIST,
    Sound,
    find_dataset,
    load_development,
    load_test,
    log_mel,
    mel_bands,
    read_spectrograms,
)
from trainables.data.labelled import Labelled

SOUND = Sound(sample_rate=4000, seconds=0.25, mels=16)
TONES = {"high": 1200.0, "low": 300.0, "middle": 700.0}


def tone(hz: float, *, seconds: float = 0.25, rate: int = 4000, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * (hz * time + rng.random())) + noise * rng.standard_normal(len(time))


def write_wav(path: Path, sound: np.ndarray, rate: int = 4000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, (sound * 32767).clip(-32768, 32767).astype(np.int16))
    return path


def write_tones(root: Path, count: int, noise: float = 0.3) -> Path:
    """`count` recordings of each tone, with noise of their own."""
    for name, hz in TONES.items():
        for number in range(count):
            write_wav(root / name / f"{number:03d}.wav", tone(hz, noise=noise, seed=number))
    return root


def test_the_bands_are_those_of_a_well_known_library() -> None:
    transformers = pytest.importorskip("transformers.audio_utils")
    theirs = transformers.mel_filter_bank(257, 40, 0.0, 8000.0, 16000, norm=None, mel_scale="htk")
    assert np.allclose(mel_bands(40, 257, 16000).numpy(), theirs.T, atol=1e-5)


def test_a_tone_is_loudest_in_its_band() -> None:
    spectrograms = log_mel(torch.from_numpy(np.stack([tone(hz) for hz in TONES.values()])).float(), SOUND)
    assert spectrograms.shape == (3, 16, SOUND.frames)
    high, low, middle = spectrograms[:, :, 5:-5].mean(dim=2).argmax(dim=1).tolist()
    assert low < middle < high


def test_recordings_of_any_form_become_the_same(tmp_path: Path) -> None:
    plain = write_wav(tmp_path / "plain.wav", tone(300.0))
    wavfile.write(tmp_path / "float.wav", 4000, tone(300.0).astype(np.float32))
    wavfile.write(tmp_path / "bytes.wav", 4000, (tone(300.0) * 127 + 128).astype(np.uint8))
    wavfile.write(tmp_path / "long.wav", 4000, (tone(300.0) * (2**31 - 1)).astype(np.int32))
    stereo = np.stack([tone(300.0), tone(300.0)], axis=1).astype(np.float32)
    wavfile.write(tmp_path / "stereo.wav", 4000, stereo)
    write_wav(tmp_path / "fast.wav", tone(300.0, rate=16000), rate=16000)
    with wave.open(str(tmp_path / "deep.wav"), "wb") as file:  # of 24 bits
        file.setparams((1, 3, 4000, 0, "NONE", ""))
        file.writeframes(b"".join(int(value * (2**23 - 1)).to_bytes(3, "little", signed=True) for value in tone(300.0)))
    files = [plain, *(tmp_path / f"{name}.wav" for name in ("float", "bytes", "long", "stereo", "fast", "deep"))]
    spectrograms, _ = read_spectrograms(files, SOUND)
    loudest = spectrograms[0].mean(dim=1).argmax()
    for one in spectrograms[1:]:
        assert torch.allclose(one[loudest, 3:-3], spectrograms[0, loudest, 3:-3], atol=0.1)


def test_recordings_are_cut_and_filled_up(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{seconds}.wav", tone(300.0, seconds=seconds)) for seconds in (0.1, 0.25, 0.9)]
    (short, exact, long), num_cut = read_spectrograms(files, SOUND)
    assert num_cut == 1
    assert short.shape == exact.shape == long.shape
    assert torch.allclose(exact[:, :20], long[:, :20], atol=1e-4)
    assert float(short[:, -5:].max()) < -13


def test_all_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "cut.wav").write_bytes(write_wav(tmp_path / "whole.wav", tone(300.0)).read_bytes()[:25])
    (tmp_path / "half.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:2000])
    write_wav(tmp_path / "empty.wav", np.zeros(0))
    wavfile.write(tmp_path / "nan.wav", 4000, np.full(100, np.nan, dtype=np.float32))
    files = [tmp_path / f"{name}.wav" for name in ("text", "cut", "half", "empty", "nan")]
    with pytest.raises(ValueError, match="unreadable recordings, mend or remove them") as caught:
        read_spectrograms(files, SOUND)
    assert all(str(path) in str(caught.value) for path in files)


def test_a_tree_in_one_piece_is_split(tmp_path: Path) -> None:
    write_tones(tmp_path, 20)
    (tmp_path / "_background_noise_").mkdir()
    development, test = load_development(str(tmp_path), SOUND), load_test(str(tmp_path), SOUND)[0]
    assert [len(part) for part in (development.train, development.validation, test)] == [40, 8, 12]
    assert development.train.class_names == tuple(TONES)
    normal = (development.train.inputs - development.mean[:, None]) / development.std[:, None]
    assert normal.mean(dim=(0, 2)).tolist() == pytest.approx([0.0] * 16, abs=1e-3)


def test_the_lists_of_a_tree_say_what_is_for_test_and_validation(tmp_path: Path) -> None:
    write_tones(tmp_path, 5)
    (tmp_path / TEST_LIST).write_text("".join(f"{name}/004.wav\n" for name in TONES))
    (tmp_path / VALIDATION_LIST).write_text("".join(f"{name}/003.wav\n" for name in TONES))
    development, test = load_development(str(tmp_path), SOUND), load_test(str(tmp_path), SOUND)[0]
    assert [len(part) for part in (development.train, development.validation, test)] == [9, 3, 3]
    wanted, _ = read_spectrograms([tmp_path / name / "004.wav" for name in TONES], SOUND)
    assert torch.equal(test.inputs, wanted)
    spaced = write_wav(tmp_path / "high" / "of two words.wav", tone(1200.0))
    with (tmp_path / TEST_LIST).open("a") as file:
        file.write("high/of two words.wav\nhigh/gone.wav\n")
    test, notes = load_test(str(tmp_path), SOUND)
    assert len(test) == 4
    assert torch.equal(test.inputs[1], read_spectrograms([spaced], SOUND)[0][0])
    assert notes == ("1 of 5 names in testing_list.txt are of no file here",)
    low = sorted((tmp_path / "low").iterdir())
    (tmp_path / TEST_LIST).write_text("".join(f"low/{path.name}\n" for path in low))
    with pytest.raises(ValueError, match=r"testing_list\.txt puts all files of low on one side of a split"):
        load_test(str(tmp_path), SOUND)
    (tmp_path / TEST_LIST).write_text("nothing.wav\n")
    with pytest.raises(ValueError, match=r"testing_list\.txt names none of the files beside it"):
        load_test(str(tmp_path), SOUND)


def test_recordings_of_one_speaker_are_not_parted_where_asked(tmp_path: Path) -> None:
    for name, hz in TONES.items():
        for speaker in range(10):
            for take in range(3):
                sound = tone(hz, seconds=0.3, noise=0.3, seed=10 * take + speaker)
                write_wav(tmp_path / name / f"s{speaker}_{take}.wav", sound)
    files: list[Path] = []

    def speakers_of(part: Labelled) -> set[str]:
        by_content = {read_spectrograms([path], SOUND)[0].numpy().tobytes(): path.name[:2] for path in files}
        return {by_content[one[None].numpy().tobytes()] for one in part.inputs}

    files += tmp_path.glob("*/*.wav")
    development, (test, notes) = (load(str(tmp_path), SOUND, r"^s\d") for load in (load_development, load_test))
    parts = [speakers_of(part) for part in (development.train, development.validation, test)]
    assert [len(part) for part in parts] == [7, 1, 2]
    assert len(set.union(*parts)) == 10
    assert notes == ("18 of 18 recordings are longer than 0.25 s and were cut",)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder; give the path of a tree with a folder of WAV files per class"):
        find_dataset(str(tmp_path / "nowhere"))
