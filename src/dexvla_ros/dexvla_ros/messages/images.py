"""sensor_msgs/Image and CompressedImage to (H, W, 3) uint8 RGB arrays, and back."""

import io
from array import array

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from sensor_msgs.msg import CompressedImage, Image

from dexvla_model.observation import InvalidObservation
from dexvla_ros.messages.stamps import stamp_to_message

# Encoding -> bytes per pixel.
_ENCODINGS = {"rgb8": 3, "bgr8": 3, "mono8": 1}


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
    """The image as (H, W, 3) uint8 RGB; a view of the message's data where its layout allows that.

    Raises:
        InvalidObservation: the encoding is not rgb8, bgr8 or mono8, or the data has another size than stated.
    """
    channels = _ENCODINGS.get(message.encoding)
    if channels is None:
        raise InvalidObservation(
            f"the image of {message.header.frame_id!r} has the encoding {message.encoding!r} "
            f"(allowed: {', '.join(_ENCODINGS)})"
        )
    row = message.width * channels
    if message.step < row or len(message.data) != message.height * message.step or not message.data:
        raise InvalidObservation(
            f"the image of {message.header.frame_id!r} has {len(message.data)} bytes in rows of "
            f"{message.step}, which does not make {message.width} x {message.height} pixels of "
            f"{message.encoding}"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    pixels = rows.reshape(message.height, message.width, channels)
    if message.encoding == "bgr8":
        return pixels[:, :, ::-1]
    if message.encoding == "mono8":
        return np.repeat(pixels, 3, axis=2)
    return pixels


def compressed_from_message(message: CompressedImage) -> np.ndarray:
    """The decoded JPEG or PNG as (H, W, 3) uint8 RGB.

    Raises:
        InvalidObservation: the data cannot be decoded.
    """
    try:
        with PillowImage.open(io.BytesIO(message.data.tobytes()), formats=("JPEG", "PNG")) as decoded:
            return np.asarray(decoded.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InvalidObservation(
            f"the compressed image of {message.header.frame_id!r} ({message.format!r}) cannot be decoded: "
            f"{error}"
        ) from error
