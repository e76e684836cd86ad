"""The image encoder: what of images and sentences reaches the features."""

import pytest
import torch
from torch import nn
from transformers import ResNetModel

from dexvla_model.conditioning import image_encoder_preset
from dexvla_model.conditioning.image_encoder import ImageEncoder, SpatialSoftmax

WIDTH = 8


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)

    def make(height: int, width: int, count: int = 3) -> torch.Tensor:
        return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)

    return make


def make_encoder(**changes) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(image_encoder_preset("resnet-nano", **changes), WIDTH)


def randomise_film(encoder: ImageEncoder) -> None:
    for weight in encoder.film.parameters():
        nn.init.normal_(weight, std=0.5)


def test_each_camera_gives_one_vector_whatever_its_size(images):
    encoder = make_encoder()
    views = {"scene": images(64, 96), "wrist": images(48, 48), "other": images(64, 96)}
    features = encoder(views, torch.randn(3, WIDTH))
    assert set(features) == set(views)
    assert {tuple(feature.shape) for feature in features.values()} == {(3, encoder.config.feature_width)}


def test_cameras_of_one_size_in_one_batch_are_as_on_their_own(images):
    encoder = make_encoder()
    randomise_film(encoder)
    views = {"scene": images(48, 64), "wrist": images(48, 64)}
    sentence = torch.randn(3, WIDTH)
    together = encoder(views, sentence)
    for role, view in views.items():
        torch.testing.assert_close(
            together[role], encoder({role: view}, sentence)[role], rtol=1e-4, atol=1e-5
        )


def test_before_training_film_is_the_identity_of_transformers_resnet(images):
    """With zero-initialised FiLM the maps are those of transformers' ResNet of the same weights."""
    encoder = make_encoder(normalization="frozen_batch")
    plain = ResNetModel(encoder.config.to_transformers()).eval()
    plain.load_state_dict(encoder.resnet.state_dict(), strict=False)
    view = images(64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((view / 255 - mean) / std).permute(0, 3, 1, 2)
    expected = plain(pixels).last_hidden_state
    torch.testing.assert_close(
        encoder.feature_maps(view, torch.randn(3, WIDTH)), expected, rtol=1e-4, atol=1e-5
    )


def test_the_sentence_modulates_its_own_sample_only(images):
    encoder = make_encoder()
    randomise_film(encoder)
    view = images(48, 48)
    sentence = torch.randn(3, WIDTH)
    other = sentence.clone()
    other[1] = torch.randn(WIDTH)
    one, two = encoder({"scene": view}, sentence)["scene"], encoder({"scene": view}, other)["scene"]
    assert torch.equal(one[[0, 2]], two[[0, 2]])
    assert not torch.allclose(one[1], two[1])


def test_without_film_stages_the_sentence_changes_nothing(images):
    encoder = make_encoder(film_from_stage=2)
    view = images(48, 48)
    first, second = (encoder({"scene": view}, torch.randn(3, WIDTH))["scene"] for _ in range(2))
    assert len(encoder.film) == 0
    assert torch.equal(first, second)


@pytest.mark.parametrize("normalization", ["group", "frozen_batch"])
def test_training_and_evaluation_are_the_same_function(normalization, images):
    """No running statistics: what the other samples are, and how many batches went by, does not matter."""
    encoder = make_encoder(normalization=normalization)
    view, sentence = images(48, 48), torch.randn(3, WIDTH)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    trained = encoder.train()({"scene": view}, sentence)["scene"]
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    torch.testing.assert_close(encoder.eval()({"scene": view}, sentence)["scene"], trained)
    alone = encoder({"scene": view[:1]}, sentence[:1])["scene"]
    torch.testing.assert_close(alone, trained[:1], rtol=1e-4, atol=1e-5)


def test_keypoints_are_where_the_map_is_bright():
    """A sharp peak at a pixel comes out as that pixel's centre, x right and y down."""
    pool = SpatialSoftmax(channels=2, keypoints=2)
    with torch.no_grad():
        pool.keypoint_maps.weight.copy_(torch.eye(2)[:, :, None, None])
        pool.keypoint_maps.bias.zero_()
    maps = torch.zeros(1, 2, 4, 8)
    maps[0, 0, 0, 7] = 100.0  # top right
    maps[0, 1, 3, 0] = 100.0  # bottom left
    right_top, left_bottom = 1 - 1 / 8, 1 - 1 / 4
    expected = torch.tensor([[right_top, -right_top, -left_bottom, left_bottom]])
    torch.testing.assert_close(pool(maps), expected)


def test_average_pooling_is_the_mean_of_each_channel(images):
    encoder = make_encoder(pooling="average")
    view, sentence = images(48, 48), torch.randn(3, WIDTH)
    features = encoder({"scene": view}, sentence)["scene"]
    torch.testing.assert_close(features, encoder.feature_maps(view, sentence).mean(dim=(2, 3)))


def test_gradients_reach_every_weight(images):
    encoder = make_encoder()
    randomise_film(encoder)
    encoder({"scene": images(64, 96)}, torch.randn(3, WIDTH))["scene"].square().sum().backward()
    silent = [
        name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    # A constant added to a whole map moves no keypoint.
    assert set(silent) <= {"pool.keypoint_maps.bias"}


def test_frozen_statistics_are_constants(images):
    encoder = make_encoder(normalization="frozen_batch")
    trained = {name for name, _ in encoder.named_parameters()}
    assert not any("normalization" in name for name in trained)
    assert any("normalization.running_mean" in name for name in encoder.state_dict())
