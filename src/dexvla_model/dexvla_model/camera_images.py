"""From an observation's images to the tensors that a model takes."""

from collections.abc import Mapping

import numpy as np
import torch

from dexvla_model.observation import InvalidObservation, Observation
from dexvla_model.vlm.images import ImageSize


def image_batches(
    observation: Observation, cameras: Mapping[str, ImageSize], device: torch.device | str
) -> dict[str, torch.Tensor]:
    """The images of `cameras`, in their order, each as a batch of one, (1, H, W, 3) uint8.

    Raises:
        InvalidObservation: an image is missing or not of the model's size.
    """
    return {role: _image_batch(observation, role, size, device) for role, size in cameras.items()}


def _image_batch(
    observation: Observation, role: str, size: ImageSize, device: torch.device | str
) -> torch.Tensor:
    expected = (size.height, size.width, 3)
    image = observation.images.get(role)
    if image is None:
        raise InvalidObservation(f"there is no image of the camera {role}")
    if image.shape != expected or image.dtype != np.uint8:
        raise InvalidObservation(
            f"the image of the camera {role} has shape {image.shape} and type {image.dtype}, "
            f"needed is {expected} uint8"
        )
    # A copy: an image out of a message is read-only memory, which torch does not take.
    return torch.from_numpy(np.array(image)).unsqueeze(0).to(device)
