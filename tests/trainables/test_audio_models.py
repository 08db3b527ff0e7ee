import pytest
import torch
from torch import nn

from trainables.audio_models import SpectrogramClassifier, SpectrogramCNN, SpectrogramTransformer


def network(kind: str) -> nn.Module:
    if kind == "cnn":
        return SpectrogramCNN(5, width=4, depth=3, dropout=0.1)
    return SpectrogramTransformer(16, 5, width=32, depth=2, dropout=0.1)


@pytest.mark.parametrize("kind", ["cnn", "transformer"])
@pytest.mark.parametrize("frames", [9, 26, 101])
def test_spectrograms_of_any_length_give_logits(kind: str, frames: int) -> None:
    assert network(kind)(torch.randn(3, 16, frames)).shape == (3, 5)


def test_the_transformer_knows_where_a_sound_is() -> None:
    model = network("transformer").eval()
    early = torch.zeros(1, 16, 40)
    early[:, :, 4:8] = 3.0
    assert not torch.allclose(model(early), model(early.roll(16, 2)), atol=1e-4)


def test_a_width_that_heads_can_not_share_is_refused() -> None:
    with pytest.raises(ValueError, match="width of a transformer must be a multiple of 32; got 40"):
        SpectrogramTransformer(16, 5, width=40, depth=1, dropout=0.0)


def test_each_band_is_normalised_with_figures_that_the_state_carries() -> None:
    model, other = (SpectrogramClassifier(network("cnn"), 16).eval() for _ in range(2))
    model.set_normalisation(torch.arange(16.0), torch.arange(1.0, 17.0))
    other.load_state_dict(model.state_dict())
    normal = torch.randn(2, 16, 20)
    assert torch.allclose(other(normal * other.std + other.mean), model.network(normal), atol=1e-4)
