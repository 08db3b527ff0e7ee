"""Labelled recordings as log-mel spectrograms: WAV files read, cut to one length, split; knows no models or trials."""

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch

from trainables.audio.audio_models import SILENCE
from trainables.data.labelled import Development, Labelled
from trainables.data.splits import told_of_leaks
from trainables.data.trees import TreePart, read_part, told_unreadable, with_validation

WAV_SUFFIXES = frozenset({".wav"})
# Of the lists of a data set in the form of Speech Commands (Warden 2018, arXiv:1804.03209): no speaker of one part has
# a recording in another.
TEST_LIST, VALIDATION_LIST = "testing_list.txt", "validation_list.txt"
WINDOW_S, HOP_S = 0.025, 0.010
_FILES_AT_ONCE = 256


@dataclass(frozen=True)
class Sound:
    """What recordings are made into.

    Attributes:
        sample_rate: in Hz, that they are resampled to.
        seconds: length that they are cut or filled up to.
        mels: number of bands.
    """

    sample_rate: int = 16_000
    seconds: float = 1.0
    mels: int = 40

    @property
    def samples(self) -> int:
        return round(self.sample_rate * self.seconds)

    @property
    def frames(self) -> int:
        """Of the spectrogram of a recording."""
        return 1 + self.samples // round(self.sample_rate * HOP_S)


def find_dataset(path: str) -> None:
    """Raises ValueError where there is no such folder."""
    if not Path(path).expanduser().is_dir():
        raise ValueError(f"dataset {path!r} is no folder; give the path of a tree with a folder of WAV files per class")


def load_development(path: str, sound: Sound, group: str = "") -> Development:
    """The training and the validation set: the same rows each time.

    Validated with is what the tree's own list names or what is below val/, or else a sixth, with all classes in
    proportion. Raises ValueError for files that can't be used.

    Args:
        group: as in `TreePart.split`.
    """
    root = Path(path).expanduser()
    part = _part(root, False, group)
    if (listed := _listed(root, part, VALIDATION_LIST, group)) is not None:
        given, part = listed
    else:
        part, given = with_validation(root, part, WAV_SUFFIXES, group)
    train, validation = _read(part, sound), _read(given, sound)
    validation = validation.noted(*told_of_leaks("recordings", validation.inputs, train.inputs, "validation"))
    std, mean = torch.std_mean(train.inputs, dim=(0, 2))
    return Development(train, validation, mean, std.clamp(min=1e-3))


def load_test(path: str, sound: Sound, group: str = "") -> tuple[Labelled, tuple[str, ...]]:
    """The test set, that no search may see, and what there is to tell of it."""
    root = Path(path).expanduser()
    test, development = (_read(_part(root, is_test, group), sound) for is_test in (True, False))
    return test, (*test.notes, *told_of_leaks("recordings", test.inputs, development.inputs))


def read_spectrograms(files: Sequence[Path], sound: Sound) -> tuple[torch.Tensor, int]:
    """Of each file, `[n, mels, frames]`, and how many were longer and cut; one ValueError for all unreadable ones."""
    spectrograms, unreadable, num_cut = torch.empty(len(files), sound.mels, sound.frames), [], 0
    for start in range(0, len(files), _FILES_AT_ONCE):
        some = files[start : start + _FILES_AT_ONCE]
        waves = torch.zeros(len(some), sound.samples)
        for row, path in enumerate(some):
            try:
                wave = _read_wave(path, sound.sample_rate)
            except (OSError, ValueError, EOFError, struct.error, Warning) as error:
                unreadable.append(f"{path} ({error})")
                continue
            num_cut += len(wave) > sound.samples
            waves[row, : len(wave)] = torch.from_numpy(wave)[: sound.samples]
        spectrograms[start : start + len(some)] = log_mel(waves, sound)
    if unreadable:
        raise ValueError(told_unreadable("recordings", unreadable))
    return spectrograms, num_cut


def log_mel(waves: torch.Tensor, sound: Sound) -> torch.Tensor:
    """The logarithms of the power in each band, `[n, mels, frames]`, of waves `[n, samples]`."""
    window = round(sound.sample_rate * WINDOW_S)
    size = 1 << (window - 1).bit_length()
    spectrum = torch.stft(
        waves,
        size,
        hop_length=round(sound.sample_rate * HOP_S),
        win_length=window,
        window=torch.hann_window(window),
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.abs() ** 2
    return (mel_bands(sound.mels, size // 2 + 1, sound.sample_rate) @ power).clamp(min=SILENCE).log()


def mel_bands(mels: int, bins: int, sample_rate: int) -> torch.Tensor:
    """The weight of each frequency in each band, `[mels, bins]`: triangles, equally far apart on HTK's mel scale."""

    def mel(hz: float) -> float:
        return 2595.0 * float(np.log10(1.0 + hz / 700.0))

    edges = 700.0 * (10.0 ** (torch.linspace(0.0, mel(sample_rate / 2), mels + 2, dtype=torch.float64) / 2595.0) - 1.0)
    frequencies = torch.linspace(0.0, sample_rate / 2, bins, dtype=torch.float64)
    slopes = edges[:, None] - frequencies
    widths = edges.diff()[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0.0).float()


def _part(root: Path, test: bool, group: str) -> TreePart:
    """The test files, or the others."""
    if not (root / TEST_LIST).is_file():
        return read_part(root, test, WAV_SUFFIXES, group)
    listed = _listed(root, read_part(root, None, WAV_SUFFIXES), TEST_LIST, group)
    assert listed is not None
    return listed[0 if test else 1]


def _listed(root: Path, part: TreePart, name: str, group: str) -> tuple[TreePart, TreePart] | None:
    """The files that a list of the tree names, and the rest; None where there is no such list."""
    if not (root / name).is_file():
        return None
    lines = (root / name).read_text(encoding="utf-8").splitlines()
    names = {line.strip() for line in lines if line.strip()}
    is_listed = torch.tensor([path.relative_to(root).as_posix() in names for path in part.files])
    if not bool(is_listed.any()):
        raise ValueError(f"{root / name} names none of the files beside it, which it should as CLASS/FILE.wav")
    if missing := len(names) - int(is_listed.sum()):
        part = part.noted(f"{missing} of {len(names)} names in {name} are of no file here")
    given, rest = part.parted(is_listed.nonzero().flatten(), (~is_listed).nonzero().flatten(), name)
    return given.noted(*given.told_of_groups(rest, name, group)), rest


def _read(part: TreePart, sound: Sound) -> Labelled:
    spectrograms, num_cut = read_spectrograms(part.files, sound)
    cut = (f"{num_cut} of {len(part.files)} recordings are longer than {sound.seconds:g} s and were cut",) * bool(
        num_cut
    )
    return Labelled(spectrograms, part.labels, part.class_names, (*part.notes, *cut))


def _read_wave(path: Path, sample_rate: int) -> np.ndarray:
    """One channel of float32 between -1 and 1, the mean of all."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no sound
        warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
        rate, values = wavfile.read(path)
    if not values.size:
        raise ValueError("holds no sound")
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / 128 - 1
    elif np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    wave = values.astype(np.float32)
    wave = wave.mean(axis=1) if wave.ndim > 1 else wave
    if not np.isfinite(wave).all():
        raise ValueError("holds values that are not finite")
    if rate != sample_rate:
        common = gcd(rate, sample_rate)
        wave = resample_poly(wave, sample_rate // common, rate // common)
    return np.asarray(wave, dtype=np.float32)
