import pytest
import torch

from trainables.cnn import CNN


def network(**keys: int) -> CNN:
    sizes = {"in_channels": 1, "image_size": 8, "num_classes": 10, "channels": 4, "depth": 2, **keys}
    return CNN(**sizes, dropout=0.5)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("image_size", [8, 9, 23, 24, 28, 32, 64, 100])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_images_of_any_size_give_logits(in_channels: int, image_size: int, depth: int) -> None:
    images = torch.randint(0, 256, (3, in_channels, image_size, image_size), dtype=torch.uint8)
    net = network(in_channels=in_channels, image_size=image_size, depth=depth, num_classes=7)
    assert net(images).shape == (3, 7)


@pytest.mark.parametrize("image_size", [8, 28, 64, 224])
def test_the_classifier_does_not_grow_with_the_images(image_size: int) -> None:
    net = network(image_size=image_size, depth=3)
    classifier = net.head[-1]
    assert isinstance(classifier, torch.nn.Linear)
    assert classifier.in_features <= 7 * 7 * 16


def test_the_network_normalises_and_carries_the_figures_along() -> None:
    net, other = network(in_channels=3).eval(), network(in_channels=3).eval()
    net.set_normalisation(torch.tensor([10.0, 20.0, 30.0]), torch.tensor([1.0, 2.0, 3.0]))
    other.load_state_dict(net.state_dict())
    assert other.mean.flatten().tolist() == [10.0, 20.0, 30.0]
    plain = network(in_channels=3).eval()
    plain.load_state_dict({**net.state_dict(), "mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)})
    normal = torch.randn(2, 3, 8, 8)
    images = normal * net.std + net.mean
    assert torch.allclose(other(images), plain(normal), atol=1e-4)


def test_width_and_depth_add_parameters() -> None:
    def count(**keys: int) -> int:
        return sum(p.numel() for p in network(**keys).parameters())

    assert count(channels=4) < count(channels=8)
    assert count(depth=2) < count(depth=3)
