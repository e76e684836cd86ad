"""The decoded pictures of a dataset's frames, held in memory."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.observation import resize_image
from dexvla_model.robot.description import Camera, RobotDescription

# Share of the memory that is free which pictures may take without being asked to.
_FREE_SHARE = 0.25
# Frames between two reports of progress.
_BLOCK = 64


def fit_in_memory(frames: int, robot: RobotDescription) -> bool:
    """Whether so many frames at the model's size take no more than a quarter of the free memory.

    All processes of a training on this machine count.
    """
    bytes_per_frame = sum(3 * camera.model_width * camera.model_height for camera in robot.cameras)
    # torchrun says how many processes of this machine hold the same pictures.
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return processes * frames * bytes_per_frame <= _FREE_SHARE * psutil.virtual_memory().available


def hold_pictures(
    pictures: Pictures,
    features: Mapping[str, str],
    frames: np.ndarray,
    robot: RobotDescription,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Decode frames once: by camera role, (N, H, W, 3) uint8 at the model's size.

    Args:
        features: of the cameras, by role.
        frames: (N,) their indices among all of the dataset, ascending.
        progress: called with the number of pictures decoded and their total.

    Raises:
        UserError: a video or image is missing or damaged.
    """
    held = {
        camera.role: np.empty((len(frames), camera.model_height, camera.model_width, 3), np.uint8)
        for camera in robot.cameras
    }
    blocks = [
        (camera, slice(first, first + _BLOCK)) for camera in robot.cameras for first in range(0, len(frames),
    _BLOCK) ]

    def decode(camera: Camera, block: slice) -> int:
        found = pictures.get(features[camera.role], frames[block])
        for place, image in enumerate(found, start=block.start):
            held[camera.role][place] = resize_image(image, camera)
        return len(found)

    total, done = len(frames) * len(robot.cameras), 0
    # Decoders leave the interpreter to others.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for count in pool.map(lambda work: decode(*work), blocks):
            done += count
            progress(done, total)
    return held
