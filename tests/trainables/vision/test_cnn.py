import pytest
import torch

from trainables.vision.cnn import CNN, ClassicCNN


def network(**keys: int) -> CNN:
    sizes = {"in_channels": 1, "image_size": 8, "num_classes": 10, "channels": 4, "depth": 2, **keys}
    return CNN(**sizes, dropout=0.5)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("image_size", [8, 9, 23, 24, 28, 32, 64, 100])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_images_of_any_size_give_logits(in_channels: int, image_size: int, depth: int) -> None:
    images = torch.randn(3, in_channels, image_size, image_size)
    net = network(in_channels=in_channels, image_size=image_size, depth=depth, num_classes=7)
    assert net(images).shape == (3, 7)
    classic = ClassicCNN(in_channels, image_size, 7, channels=4, dropout=0.5)
    assert classic(images).shape == (3, 7)


@pytest.mark.parametrize("image_size", [8, 28, 64, 224])
def test_the_classifier_does_not_grow_with_the_images(image_size: int) -> None:
    net = network(image_size=image_size, depth=3)
    classifier = net.head[-1]
    assert isinstance(classifier, torch.nn.Linear)
    assert classifier.in_features <= 7 * 7 * 16


def test_width_and_depth_add_parameters() -> None:
    def count(**keys: int) -> int:
        return sum(p.numel() for p in network(**keys).parameters())

    assert count(channels=4) < count(channels=8)
    assert count(depth=2) < count(depth=3)
