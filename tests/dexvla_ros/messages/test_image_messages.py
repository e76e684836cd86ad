"""Images between messages and arrays."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image

from dexvla_model.observation import InvalidObservation
from dexvla_ros.messages.colour_conversion import FORMATS
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
    message.encoding = "nv21"
    with pytest.raises(InvalidObservation, match="'scene_optical'.*'nv21'.*rgb8, bgr8, mono8"):
        image_from_message(message)


@pytest.mark.parametrize("change", [{"height": 7}, {"step": 20}, {"width": 0, "height": 0, "data": b""}])
def test_data_of_another_size_than_the_fields_state_is_refused(picture, change):
    message = image_to_message(picture, 1.0, "a")
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(InvalidObservation, match="does not make"):
        image_from_message(message)


def test_rgb8_is_a_view_of_the_message_also_with_padding(picture):
    message = image_to_message(picture, 1.0, "a")
    assert np.shares_memory(image_from_message(message), np.frombuffer(message.data, np.uint8))
    message.width = 7
    assert np.shares_memory(image_from_message(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    "encoding, size", [("yuv422", (7, 4)), ("bayer_rggb8", (2, 4)), ("bayer_grbg8", (4, 2))]
)
def test_sizes_that_an_encoding_cannot_have_are_refused(encoding, size):
    width, height = size
    step = width * FORMATS[encoding].pixel_bytes
    message = Image(height=height, width=width, step=step, encoding=encoding, data=bytes(step * height))
    with pytest.raises(InvalidObservation, match=f"{width} x {height} pixels, which {encoding} cannot have"):
        image_from_message(message)


def test_an_image_without_columns_is_refused():
    message = Image(height=2, width=0, step=4, encoding="mono8", data=bytes(8))
    with pytest.raises(InvalidObservation, match="0 x 2 pixels"):
        image_from_message(message)


@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_becomes_grey_by_the_centimetre(big_endian):
    depth_mm = np.array([[0, 4, 5, 14], [15, 1000, 2554, 65535]], np.uint16)
    data = depth_mm.astype(">u2" if big_endian else "<u2").tobytes()
    message = Image(height=2, width=4, step=8, encoding="16UC1", is_bigendian=big_endian, data=data)
    grey = np.array([[0, 0, 1, 1], [2, 100, 255, 255]])
    np.testing.assert_array_equal(image_from_message(message), np.stack([grey] * 3, axis=2))


def compressed(picture: np.ndarray, file_format: str, stated: str) -> CompressedImage:
    """A message with the picture as a file of `file_format`, and `stated` as its format."""
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, file_format)
    return CompressedImage(format=stated, data=file.getvalue())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_compressed_images_are_decoded_to_what_opencv_decodes(file_format, channels):
    picture = np.random.default_rng(1).integers(0, 256, (37, 42, *channels), dtype=np.uint8)
    message = compressed(picture, file_format, "bgr8; something compressed")
    expected = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(compressed_from_message(message), expected)


@pytest.mark.parametrize("stated", ["jpeg", "", "bgr8; jpeg compressed bgr8"])
def test_the_data_says_how_it_is_compressed_not_the_format(picture, stated):
    np.testing.assert_array_equal(compressed_from_message(compressed(picture, "PNG", stated)), picture)


@pytest.mark.parametrize("encoding, grey", [("16UC1", [0, 100, 255]), ("mono16", [0, 4, 255])])
def test_a_png_of_16_bits_is_what_its_format_begins_with(encoding, grey):
    values = np.array([[0, 1000, 65535]], np.uint16)
    image = compressed_from_message(compressed(values, "PNG", f"{encoding}; png compressed "))
    np.testing.assert_array_equal(image, np.repeat(np.array(grey)[None, :, None], 3, axis=2))


def test_a_png_of_16_bits_that_does_not_say_what_it_is_is_refused():
    message = compressed(np.zeros((2, 2), np.uint16), "PNG", "png")
    with pytest.raises(InvalidObservation, match="16 bits.*allowed: 16UC1, mono16"):
        compressed_from_message(message)


def test_compressed_depth_is_refused_with_what_to_use():
    message = CompressedImage(format="16UC1; compressedDepth png", data=bytes(20))
    with pytest.raises(InvalidObservation, match="compressedDepth: use the raw topic"):
        compressed_from_message(message)


def test_a_truncated_jpeg_is_refused(picture):
    message = compressed(picture, "JPEG", "jpeg")
    message.data = message.data[:-20]
    with pytest.raises(InvalidObservation, match="cannot be decoded"):
        compressed_from_message(message)


def test_a_broken_compressed_image_is_refused():
    message = CompressedImage(format="jpeg", data=b"no picture")
    with pytest.raises(InvalidObservation, match="cannot be decoded"):
        compressed_from_message(message)
