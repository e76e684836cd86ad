"""Pixels of sensor_msgs/Image to RGB: through cv_bridge where it can be used, through OpenCV elsewhere.

Both give the same numbers: cv_bridge calls OpenCV with the codes that stand here, see
https://github.com/ros-perception/vision_opencv/blob/rolling/cv_bridge/src/cv_bridge.cpp.
"""

from array import array
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import Image


@dataclass(frozen=True)
class PixelFormat:
    """How an encoding stores a pixel.

    Attributes:
        channels: numbers per pixel. dtype: of a number, in native byte order.
        code: of OpenCV's cvtColor to RGB; None where that has nothing to do.
        width_step: the width is a multiple of this.
        least_side: smallest width and height that can be converted.
    """

    channels: int
    code: int | None = None
    dtype: type = np.uint8
    width_step: int = 1
    least_side: int = 1

    @property
    def pixel_bytes(self) -> int:
        return self.channels * np.dtype(self.dtype).itemsize


# OpenCV names a Bayer pattern by the second and third pixel of its second row, ROS by the first two rows.
# It fills the border from the pixels within, of which an image below 3 x 3 has none.
FORMATS = {
    "rgb8": PixelFormat(3),
    "bgr8": PixelFormat(3, cv2.COLOR_BGR2RGB),
    "mono8": PixelFormat(1, cv2.COLOR_GRAY2RGB),
    "rgba8": PixelFormat(4, cv2.COLOR_RGBA2RGB),
    "bgra8": PixelFormat(4, cv2.COLOR_BGRA2RGB),
    "yuv422": PixelFormat(2, cv2.COLOR_YUV2RGB_UYVY, width_step=2),
    "yuv422_yuy2": PixelFormat(2, cv2.COLOR_YUV2RGB_YUY2, width_step=2),
    "bayer_rggb8": PixelFormat(1, cv2.COLOR_BayerBG2RGB, least_side=3),
    "bayer_bggr8": PixelFormat(1, cv2.COLOR_BayerRG2RGB, least_side=3),
    "bayer_gbrg8": PixelFormat(1, cv2.COLOR_BayerGR2RGB, least_side=3),
    "bayer_grbg8": PixelFormat(1, cv2.COLOR_BayerGB2RGB, least_side=3),
    "mono16": PixelFormat(1, cv2.COLOR_GRAY2RGB, np.uint16),
    "16UC1": PixelFormat(1, dtype=np.uint16),
}

# A policy's pictures have 8 bits; 2.55 m reach beyond the far edge of a table.
DEPTH_MM_PER_LEVEL = 10
_DEPTH_LEVELS = (np.arange(65536) + DEPTH_MM_PER_LEVEL // 2) // DEPTH_MM_PER_LEVEL
_DEPTH_LEVELS = np.minimum(_DEPTH_LEVELS, 255).astype(np.uint8)


def find_bridge():
    """A CvBridge, or None where cv_bridge is absent or cannot be used with this NumPy."""
    spec = find_spec("cv_bridge")
    if spec is None:
        return None
    # Built against NumPy 1, its Boost module imports under NumPy 2 and then crashes the process:
    # https://github.com/ros-perception/vision_opencv/issues/535.
    boost = any(Path(folder, "boost").is_dir() for folder in spec.submodule_search_locations or ())
    if boost and int(np.__version__.partition(".")[0]) >= 2:
        return None
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError, RuntimeError, SystemError):
        return None  # there, but not for this Python or this NumPy
    return CvBridge()


_BRIDGE = find_bridge()


def to_rgb(message: Image, pixels: np.ndarray) -> np.ndarray:
    """The message's colours as (H, W, 3) uint8 RGB.

    Args:
        message: has been checked against its format. Not 16UC1, which has no colours: see `depth_to_rgb`.
        pixels: (H, W, C) its data without padding, in native byte order.
    """
    if _BRIDGE is None:
        return through_opencv(pixels, message.encoding)
    return through_bridge(_BRIDGE, message, pixels)


def through_bridge(bridge, message: Image, pixels: np.ndarray) -> np.ndarray:
    """`to_rgb` with cv_bridge."""
    # CvBridge misreads rows whose padding is no whole pixel, and swaps bytes by what NumPy 2 no longer has.
    if message.is_bigendian or message.step != message.width * FORMATS[message.encoding].pixel_bytes:
        packed = Image(height=message.height, width=message.width, encoding=message.encoding)
        packed.step = pixels[0].nbytes
        packed.data = array("B", pixels.tobytes())
        message = packed
    return bridge.imgmsg_to_cv2(message, "rgb8")


def through_opencv(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """`to_rgb` with OpenCV."""
    if encoding == "mono16":
        return brightness_to_rgb(pixels)
    return cv2.cvtColor(pixels, FORMATS[encoding].code)


def brightness_to_rgb(brightness: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 1) uint16 to (H, W, 3) uint8 grey: v * 255 / 65535, rounded, as in cv_bridge."""
    return cv2.cvtColor(cv2.convertScaleAbs(brightness, alpha=255 / 65535), cv2.COLOR_GRAY2RGB)


def depth_to_rgb(depth_mm: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 1) uint16 depth in mm to (H, W, 3) uint8 grey, far is bright.

    One level is 10 mm, rounded; from 2.55 m on it is 255, and 0 (nothing measured) stays 0. The scale is
    fixed, not the picture's own: one grey means one distance in every picture that a policy sees.
    """
    return cv2.cvtColor(_DEPTH_LEVELS[depth_mm], cv2.COLOR_GRAY2RGB)
