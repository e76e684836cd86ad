"""sensor_msgs/Image and CompressedImage to (H, W, 3) uint8 RGB arrays, and back."""

import io
from array import array

import numpy as np
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image

from dexvla_model.observation import InvalidObservation
from dexvla_ros.messages.colour_conversion import FORMATS, brightness_to_rgb, depth_to_rgb, to_rgb
from dexvla_ros.messages.stamps import stamp_to_message

# What Pillow raises for data that is no picture, or a broken one, or one of absurd size.
_NOT_DECODABLE = (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError)
# What a 16-bit picture is, by the encoding in the format of its message.
_OF_16_BITS = {"16UC1": depth_to_rgb, "mono16": brightness_to_rgb}


def image_to_message(image: np.ndarray, stamp_s: float, frame: str, message: Image | None = None) -> Image:
    """An rgb8 image message.

    Args:
        image: (H, W, 3) uint8 RGB.
        stamp_s: capture time in s. frame: the optical frame.
        message: filled in place if its buffer has the right size; otherwise a new one is made.
    """
    height, width, channels = image.shape
    if message is None or len(message.data) != image.size:
        # array.array is taken as it is; an ndarray would be checked byte by byte, a hundred times slower.
        message = Image(data=array("B", bytes(image.size)))
    message.header.stamp = stamp_to_message(stamp_s)
    message.header.frame_id = frame
    message.height, message.width, message.step = height, width, width * channels
    message.encoding = "rgb8"
    np.frombuffer(message.data, np.uint8).reshape(image.shape)[:] = image
    return message


def image_from_message(message: Image) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB; of rgb8, a view of the message's data.

    16UC1, a depth image in mm, becomes grey: see `depth_to_rgb`.

    Raises:
        InvalidObservation: the encoding is none of `FORMATS`, or the data has another size than stated.
    """
    layout = FORMATS.get(message.encoding)
    if layout is None:
        raise InvalidObservation(
            f"the image of {message.header.frame_id!r} has the encoding {message.encoding!r} "
            f"(allowed: {', '.join(FORMATS)})"
        )
    row = message.width * layout.pixel_bytes
    if message.step < row or len(message.data) != message.height * message.step or not message.data:
        raise InvalidObservation(
            f"the image of {message.header.frame_id!r} has {len(message.data)} bytes in rows of "
            f"{message.step}, which does not make {message.width} x {message.height} pixels of "
            f"{message.encoding}"
        )
    if message.width % layout.width_step or min(message.width, message.height) < layout.least_side:
        raise InvalidObservation(
            f"the image of {message.header.frame_id!r} has {message.width} x {message.height} pixels, which "
            f"{message.encoding} cannot have (its width is a multiple of {layout.width_step}, its sides are "
            f"{layout.least_side} or more)"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    if layout.dtype is not np.uint8:
        numbers = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
        # Packed first: padding may leave numbers at odd addresses, which OpenCV refuses.
        rows = np.ascontiguousarray(rows).view(numbers).astype(layout.dtype, copy=False)
    pixels = rows.reshape(message.height, message.width, layout.channels)
    if message.encoding == "rgb8":
        return pixels
    if message.encoding == "16UC1":
        return depth_to_rgb(pixels)
    return to_rgb(message, pixels)


def compressed_from_message(message: CompressedImage) -> np.ndarray:
    """The decoded JPEG or PNG as (H, W, 3) uint8 RGB; the data says which of them it is, not `format`.

    Pillow decodes, also where cv_bridge is installed: the numbers are equal, but OpenCV would take a
    truncated JPEG and fill the rest with grey. `format` begins with the encoding of the image before
    compression ("16UC1; png compressed"), by which a PNG of 16 bits is read as depth in mm or as brightness.

    Raises:
        InvalidObservation: the data cannot be decoded, or is a PNG of 16 bits that does not say of what.
    """
    sender = f"the compressed image of {message.header.frame_id!r} ({message.format!r})"
    # Its PNG stands behind a header, and codes inverse depth for 32FC1.
    if "compressedDepth" in message.format:
        raise InvalidObservation(f"{sender} is from compressedDepth: use the raw topic, or 'compressed'")
    try:
        with PillowImage.open(io.BytesIO(message.data.tobytes()), formats=("JPEG", "PNG")) as decoded:
            if not decoded.mode.startswith("I"):
                return np.asarray(decoded.convert("RGB"))
            values = np.asarray(decoded).astype(np.uint16, copy=False)
    except _NOT_DECODABLE as error:
        raise InvalidObservation(f"{sender} cannot be decoded: {error}") from error
    convert = _OF_16_BITS.get(message.format.partition(";")[0].strip())
    if convert is None:
        raise InvalidObservation(
            f"{sender} has 16 bits, and its format does not begin with what they are "
            f"(allowed: {', '.join(_OF_16_BITS)})"
        )
    return convert(values)
