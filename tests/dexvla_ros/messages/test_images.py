"""Images between messages and arrays."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image

from dexvla_model.observation import InvalidObservation
from dexvla_ros.messages.images import compressed_from_message, image_from_message, image_to_message


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_an_image_survives_the_round_trip_with_stamp_and_frame(picture):
    message = image_to_message(picture, 12.25, "scene_optical")
    assert (message.width, message.height, message.step, message.encoding) == (8, 6, 24, "rgb8")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 250_000_000)
    assert message.header.frame_id == "scene_optical"
    np.testing.assert_array_equal(image_from_message(message), picture)


def test_a_message_of_the_right_size_is_filled_in_place(picture):
    message = image_to_message(picture, 1.0, "a")
    again = image_to_message(255 - picture, 2.0, "a", message)
    assert again is message
    np.testing.assert_array_equal(image_from_message(again), 255 - picture)


def test_bgr8_is_turned_into_rgb(picture):
    message = image_to_message(picture[:, :, ::-1].copy(), 1.0, "a")
    message.encoding = "bgr8"
    np.testing.assert_array_equal(image_from_message(message), picture)


def test_mono8_fills_all_three_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    message = Image(height=3, width=4, step=4, encoding="mono8", data=grey.tobytes())
    np.testing.assert_array_equal(image_from_message(message), np.stack([grey] * 3, axis=2))


def test_padding_at_the_end_of_rows_is_left_out(picture):
    padded = np.zeros((6, 32), np.uint8)
    padded[:, :24] = picture.reshape(6, 24)
    message = Image(height=6, width=8, step=32, encoding="rgb8", data=padded.tobytes())
    np.testing.assert_array_equal(image_from_message(message), picture)


def test_an_unknown_encoding_is_named_with_what_is_allowed(picture):
    message = image_to_message(picture, 1.0, "scene_optical")
    message.encoding = "bayer_rggb8"
    with pytest.raises(InvalidObservation, match="'scene_optical'.*'bayer_rggb8'.*rgb8, bgr8, mono8"):
        image_from_message(message)


@pytest.mark.parametrize("change", [{"height": 7}, {"step": 20}, {"width": 0, "height": 0, "data": b""}])
def test_data_of_another_size_than_the_fields_state_is_refused(picture, change):
    message = image_to_message(picture, 1.0, "a")
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(InvalidObservation, match="does not make"):
        image_from_message(message)


def test_a_compressed_image_is_decoded(picture):
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, "PNG")
    message = CompressedImage(format="png", data=file.getvalue())
    np.testing.assert_array_equal(compressed_from_message(message), picture)


def test_a_broken_compressed_image_is_refused():
    message = CompressedImage(format="jpeg", data=b"no picture")
    with pytest.raises(InvalidObservation, match="cannot be decoded"):
        compressed_from_message(message)
