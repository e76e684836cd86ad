"""Second reading of a bag: the images of the frames that were chosen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation, resize_image
from dexvla_model.robot import Camera
from dexvla_ros.conversion.alignment import AlignedFrame
from dexvla_ros.conversion.bag_reader import BagReader
from dexvla_ros.messages.images import compressed_from_message, image_from_message
from dexvla_ros.messages.stamps import stamp_in_nanoseconds


def at_camera_size(image: np.ndarray, camera: Camera) -> np.ndarray:
    """The image as it is, (camera.height, camera.width, 3)."""
    if image.shape[:2] != (camera.height, camera.width):
        height, width = image.shape[:2]
        raise InvalidObservation(
            f"the camera {camera.role} gives {width} x {height} pixels, its size in the robot file is "
            f"{camera.width} x {camera.height}"
        )
    return image


SIZES: Mapping[str, Callable[[np.ndarray, Camera], np.ndarray]] = {
    "camera": at_camera_size,
    "model": resize_image,
}


def read_pictures(
    reader: BagReader, cameras: Mapping[str, Camera], frames: Sequence[AlignedFrame], size: str
) -> Iterator[tuple[AlignedFrame, dict[str, np.ndarray]]]:
    """The frames in their order, each with its images (H, W, 3) uint8 RGB by camera role.

    Args:
        cameras: by topic.
        size: `camera` for images as they came, `model` for what the policy sees, by the live nodes' own function.

    Raises:
        UserError: an image is malformed, or a camera's size changes midway.
    """
    users: dict[tuple[str, int], list[int]] = {}
    for index, frame in enumerate(frames):
        for role, stamp_ns in frame.image_stamps_ns.items():
            users.setdefault((role, stamp_ns), []).append(index)
    waiting: dict[int, dict[str, np.ndarray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    following = 0
    for message in reader.messages(tuple(cameras)):
        camera = cameras[message.topic]
        stamp_ns = stamp_in_nanoseconds(message.message.header.stamp)
        indices = users.pop((camera.role, stamp_ns), None)
        if indices is None:
            continue
        image = _decode(reader.path, message.topic, message.message, camera, size, shapes, stamp_ns)
        for index in indices:
            waiting.setdefault(index, {})[camera.role] = image
        while following in waiting and len(waiting[following]) == len(cameras):
            yield frames[following], waiting.pop(following)
            following += 1


def _decode(
    bag: Path,
    topic: str,
    message,
    camera: Camera,
    size: str,
    shapes: dict[str, tuple[int, ...]],
    stamp_ns: int,
) -> np.ndarray:
    decode = compressed_from_message if camera.transport == "compressed" else image_from_message
    try:
        image = decode(message)
        before = shapes.setdefault(topic, image.shape)
        if image.shape != before:
            raise InvalidObservation(
                f"the camera {camera.role} changes from {before[1]} x {before[0]} to "
                f"{image.shape[1]} x {image.shape[0]} pixels"
            )
        return SIZES[size](image, camera)
    except InvalidObservation as error:
        raise UserError(
            f"{bag}: the image on {topic} at {stamp_ns / 1e9:.3f} s cannot be used ({error}); correct the robot file, "
            "or leave this bag out."
        ) from error
