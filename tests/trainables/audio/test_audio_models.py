import math

import pytest
import torch
from torch import nn

from trainables.audio.audio_models import SILENCE, WIDEST, SpectrogramClassifier, SpectrogramCNN, SpectrogramTransformer


def network(kind: str) -> nn.Module:
    if kind == "cnn":
        return SpectrogramCNN(5, width=4, depth=3, dropout=0.1)
    return SpectrogramTransformer(16, 5, width=32, depth=2, dropout=0.1)


@pytest.mark.parametrize("kind", ["cnn", "transformer"])
@pytest.mark.parametrize("frames", [9, 26, 101])
def test_spectrograms_of_any_length_give_logits(kind: str, frames: int) -> None:
    assert network(kind)(torch.randn(3, 16, frames), torch.ones(3, frames, dtype=torch.bool)).shape == (3, 5)


@pytest.mark.parametrize("kind", ["cnn", "transformer"])
def test_what_a_recording_was_filled_up_with_does_not_count(kind: str) -> None:
    """The same sound is taken for the same, however much silence follows it, and alone or beside others."""
    torch.manual_seed(0)
    model = SpectrogramClassifier(network(kind), 16).eval()
    sound = torch.randn(1, 16, 16)
    filled = [torch.cat([sound, torch.full((1, 16, more), math.log(SILENCE))], dim=2) for more in (48, 80)]
    torch.testing.assert_close(model(filled[0]), model(filled[1]), atol=1e-4, rtol=1e-4)
    loud = torch.randn(1, 16, 64)
    torch.testing.assert_close(model(torch.cat([filled[0], loud]))[:1], model(filled[0]), atol=1e-4, rtol=1e-4)
    assert model(torch.full((2, 16, 20), math.log(SILENCE))).isfinite().all(), "nothing but silence"


def test_no_block_is_wider_than_the_widest() -> None:
    assert SpectrogramCNN(5, width=32, depth=9, dropout=0.0).head[1].in_features == WIDEST
    assert SpectrogramCNN(5, width=32, depth=4, dropout=0.0).head[1].in_features == 256


def test_the_transformer_knows_where_a_sound_is() -> None:
    model = network("transformer").eval()
    early = torch.zeros(1, 16, 40)
    early[:, :, 4:8] = 3.0
    heard = torch.ones(1, 40, dtype=torch.bool)
    assert not torch.allclose(model(early, heard), model(early.roll(16, 2), heard), atol=1e-4)


def test_a_width_that_heads_can_not_share_is_refused() -> None:
    with pytest.raises(ValueError, match="width of a transformer must be a multiple of 32; got 40"):
        SpectrogramTransformer(16, 5, width=40, depth=1, dropout=0.0)


def test_each_band_is_normalised_with_figures_that_the_state_carries() -> None:
    model, other = (SpectrogramClassifier(network("cnn"), 16).eval() for _ in range(2))
    model.set_normalisation(torch.arange(16.0), torch.arange(1.0, 17.0))
    other.load_state_dict(model.state_dict())
    normal = torch.randn(2, 16, 20)
    heard = torch.ones(2, 20, dtype=torch.bool)
    assert torch.allclose(other(normal * other.std + other.mean), model.network(normal, heard), atol=1e-4)
