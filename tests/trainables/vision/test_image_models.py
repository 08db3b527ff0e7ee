from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.vision.image_models import MODELS, ImageClassifier, make_image_classifier

OWN = ("cnn", "classic")
LAST_LAYERS = ("fc", "heads", "classifier")


def classifier(name: str, **keys: Any) -> ImageClassifier:
    sizes = {"in_channels": 1, "image_size": 32, "num_classes": 3, "channels": 4, "depth": 2, "dropout": 0.0, **keys}
    return make_image_classifier(name, **sizes).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_model_gives_logits_of_images_as_they_are_stored(name: str, in_channels: int) -> None:
    images = torch.randint(0, 256, (2, in_channels, 32, 32), dtype=torch.uint8)
    net = classifier(name, in_channels=in_channels, dropout=0.5)
    logits = net(images)
    assert logits.shape == (2, 3)
    assert bool(logits.isfinite().all())
    assert sum(isinstance(module, torch.nn.Dropout) and module.p == 0.5 for module in net.modules()) >= 1


def test_the_network_normalises_and_carries_the_figures_along() -> None:
    net, other = classifier("cnn", in_channels=3), classifier("cnn", in_channels=3)
    net.set_normalisation(torch.tensor([10.0, 20.0, 30.0]), torch.tensor([1.0, 2.0, 3.0]))
    other.load_state_dict(net.state_dict())
    assert other.mean.flatten().tolist() == [10.0, 20.0, 30.0]
    normal = torch.randn(2, 3, 32, 32)
    assert torch.allclose(other(normal * net.std + net.mean), net.network(normal), atol=1e-4)


def test_a_grey_image_is_three_times_the_same_for_a_network_of_colours() -> None:
    net, coloured = classifier("resnet18"), classifier("resnet18", in_channels=3)
    coloured.network.load_state_dict(net.network.state_dict())
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.allclose(net(images), coloured(images.repeat(1, 3, 1, 1)), atol=1e-5)


def test_the_order_in_memory_changes_nothing_but_the_time() -> None:
    net, plain = classifier("cnn"), classifier("cnn", channels_last=False)
    plain.load_state_dict(net.state_dict())
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.allclose(net(images), plain(images), atol=1e-5)
    last, first = (one.network.features[0][0].weight.stride(1) for one in (net, plain))
    assert last < first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b0", "convnext_tiny"])
def test_weights_are_taken_over_but_for_the_last_layer(tmp_path: Path, name: str) -> None:
    given = classifier(name, image_size=64, num_classes=7, in_channels=3)
    torch.save(given.network.state_dict(), tmp_path / "weights.pt")
    # The positions of a transformer are drawn out to images of another size.
    size = 96 if name == "vit_b_16" else 64
    net = classifier(name, image_size=size, in_channels=3, weights=str(tmp_path / "weights.pt"), dropout=0.1)
    taken = {key: value for key, value in net.network.state_dict().items() if not key.startswith(LAST_LAYERS)}
    same = [key for key, value in taken.items() if torch.equal(value, given.network.state_dict()[key])]
    assert set(taken) - set(same) <= {"encoder.pos_embedding"}
    assert net(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape == (1, 3)


def test_what_can_not_be_made_is_told(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    weights = str(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"are not those of resnet18: these are missing, or too many: conv1\.weight"):
        classifier("resnet18", image_size=64, weights=weights)
    with pytest.raises(ValueError, match="weights of resnet18 are for images of 64 pixels or more, not 32"):
        classifier("resnet18", weights=weights)
    with pytest.raises(ValueError, match="weights are for torchvision's models"):
        classifier("cnn", weights=weights)
    with pytest.raises(ValueError, match="a multiple of 16; image_size is 40"):
        classifier("vit_b_16", image_size=40)
    with pytest.raises(ValueError, match="takes images of 1 or 3 channels; these have 4"):
        classifier("resnet18", in_channels=4)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.pt can't be read as those of resnet18"):
        classifier("resnet18", image_size=64, weights=str(tmp_path / "text.pt"))
