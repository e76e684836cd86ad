"""Every encoding gives the same RGB through cv_bridge, through OpenCV, and by the published formulas."""

import sys
from array import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from dexvla_ros.messages import colour_conversion
from dexvla_ros.messages.colour_conversion import FORMATS, find_bridge, through_bridge
from dexvla_ros.messages.images import image_from_message

COLOURS = [encoding for encoding in FORMATS if encoding != "16UC1"]
# (row, column) of red and of blue in a pattern's 2 x 2 cell.
BAYER = {
    "bayer_rggb8": ((0, 0), (1, 1)),
    "bayer_bggr8": ((1, 1), (0, 0)),
    "bayer_gbrg8": ((1, 0), (0, 1)),
    "bayer_grbg8": ((0, 1), (1, 0)),
}


def yuv_to_rgb(y, u, v):
    """ITU-R BT.601 in 20-bit fixed point: OpenCV, modules/imgproc/src/color_yuv.simd.hpp."""
    y, u, v = (np.asarray(part, np.int64) for part in (y, u, v))
    luma, u, v, half = np.maximum(y - 16, 0) * 1220542, u - 128, v - 128, 1 << 19
    red, green = luma + 1673527 * v, luma - 852492 * v - 409993 * u
    rgb = np.stack([red, green, luma + 2116026 * u], axis=-1)
    return np.clip((rgb + half) >> 20, 0, 255).astype(np.uint8)


def bilinear(mosaic, red, blue):
    """Mean of the nearest pixels of the colour, rounded up at a half; the border repeats what is within."""
    height, width = mosaic.shape
    image = np.zeros((height, width, 3), np.uint8)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            near = {}  # values by channel and distance
            for y, x in np.ndindex(3, 3):
                place = (row + y - 1, column + x - 1)
                cell = (place[0] % 2, place[1] % 2)
                channel = 0 if cell == red else 2 if cell == blue else 1
                near.setdefault((channel, abs(y - 1) + abs(x - 1)), []).append(int(mosaic[place]))
            for channel in range(3):
                values = min((key, values) for key, values in near.items() if key[0] == channel)[1]
                image[row, column, channel] = (sum(values) + len(values) // 2) // len(values)
    return np.pad(image[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), mode="edge")


def by_formula(encoding, pixels):
    """(H, W, C) pixels to (H, W, 3) uint8 RGB, without OpenCV."""
    if encoding in BAYER:
        return bilinear(pixels[:, :, 0], *BAYER[encoding])
    if encoding.startswith("yuv422"):
        luma, chroma = (0, 1) if encoding == "yuv422_yuy2" else (1, 0)
        u, v = (np.repeat(pixels[:, start::2, chroma], 2, axis=1) for start in (0, 1))
        return yuv_to_rgb(pixels[:, :, luma], u, v)
    if encoding == "mono16":
        pixels = np.rint(pixels / 257).astype(np.uint8)
    order = {"rgb8": [0, 1, 2], "rgba8": [0, 1, 2], "bgr8": [2, 1, 0], "bgra8": [2, 1, 0]}
    return pixels[:, :, order.get(encoding, [0, 0, 0])]


class FormulaBridge:
    """Stands in for CvBridge: takes packed rows in native byte order, and converts by the formulas."""

    def imgmsg_to_cv2(self, message, desired_encoding):
        layout = FORMATS[message.encoding]
        assert desired_encoding == "rgb8" and not message.is_bigendian
        pixels = np.frombuffer(message.data, layout.dtype)
        return by_formula(message.encoding, pixels.reshape(message.height, message.width, layout.channels))


def image_message(encoding, pixels, padding=0, big_endian=False):
    """A message with `padding` bytes of rubbish behind every row."""
    layout = FORMATS[encoding]
    height, width = pixels.shape[:2]
    numbers = pixels.astype(np.dtype(layout.dtype).newbyteorder(">" if big_endian else "<"))
    row = width * layout.pixel_bytes
    rows = np.full((height, row + padding), 0xA5, np.uint8)
    rows[:, :row] = np.frombuffer(numbers.tobytes(), np.uint8).reshape(height, row)
    return Image(
        height=height,
        width=width,
        step=row + padding,
        encoding=encoding,
        is_bigendian=big_endian,
        data=array("B", rows.tobytes()),
    )


def random_pixels(encoding, height, width):
    layout = FORMATS[encoding]
    top = np.iinfo(layout.dtype).max + 1
    return np.random.default_rng(0).integers(0, top, (height, width, layout.channels)).astype(layout.dtype)


@pytest.fixture
def bridge():
    """cv_bridge itself where it can be used."""
    return find_bridge() or FormulaBridge()


@pytest.mark.parametrize("padding, big_endian", [(0, False), (5, False), (0, True), (2, True)])
@pytest.mark.parametrize("encoding", COLOURS)
def test_cv_bridge_opencv_and_the_formulas_agree(encoding, padding, big_endian, bridge, monkeypatch):
    pixels = random_pixels(encoding, 17, 22)
    message = image_message(encoding, pixels, padding, big_endian)
    monkeypatch.setattr(colour_conversion, "_BRIDGE", None)
    through_opencv = image_from_message(message)
    assert (through_opencv.shape, through_opencv.dtype) == ((17, 22, 3), np.uint8)
    np.testing.assert_array_equal(through_opencv, by_formula(encoding, pixels))
    np.testing.assert_array_equal(through_bridge(bridge, message, pixels), through_opencv)
    monkeypatch.setattr(colour_conversion, "_BRIDGE", bridge)
    np.testing.assert_array_equal(image_from_message(message), through_opencv)


def test_every_level_of_mono16_is_rounded():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    image = image_from_message(image_message("mono16", levels))
    np.testing.assert_array_equal(image, by_formula("mono16", levels))


@pytest.mark.parametrize("encoding", ["yuv422", "yuv422_yuy2"])
def test_a_red_pixel_pair_of_yuv_is_red(encoding):
    red = {"yuv422": [[90, 81], [240, 81]], "yuv422_yuy2": [[81, 90], [81, 240]]}[encoding]
    image = image_from_message(image_message(encoding, np.array([red], np.uint8)))
    np.testing.assert_allclose(image.astype(int), [[[255, 0, 0]] * 2], atol=2)


@pytest.mark.parametrize(
    "boost, numpy_version, usable", [(True, "1.26.4", True), (True, "2.4.0", False), (False, "2.4.0", True)]
)
def test_a_cv_bridge_that_would_crash_under_this_numpy_is_left_alone(
    boost, numpy_version, usable, tmp_path, monkeypatch
):
    package = tmp_path / "cv_bridge"
    package.mkdir()
    (package / "__init__.py").write_text("class CvBridge: pass\n")
    if boost:
        (package / "boost").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    monkeypatch.setattr(colour_conversion.np, "__version__", numpy_version)
    found = find_bridge()
    sys.modules.pop("cv_bridge", None)
    assert (found is not None) == usable


def test_a_cv_bridge_that_cannot_be_imported_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "cv_bridge.py").write_text("raise ImportError('libopencv_core.so is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    assert find_bridge() is None
