"""All frames of some demonstrations in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dexvla_model.data.demonstrations import open_dataset, read_episode
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import check_same_layout


@dataclass
class FrameTable:
    """N frames of many episodes, one behind the other. See `FrameSource`.

    Attributes:
        images: by camera role, (N, H, W, 3) uint8.
        state: (N, S) float32 rad. action_chunks: (N, T, A) float32 rad.
        grounding: (N, O, V) uint8, the share (of 255) of each of the V vision tokens that shows each object;
            tokens of all cameras in the robot file's order.
        objects: the O names.
        instructions, sub_steps: N texts each.
        last_frame: (N,) index of the last frame of each frame's episode.
    """

    images: dict[str, np.ndarray]
    state: np.ndarray
    action_chunks: np.ndarray
    grounding: np.ndarray
    objects: tuple[str, ...]
    instructions: list[str]
    sub_steps: list[str]
    last_frame: np.ndarray
    stride: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.state)

    @property
    def horizon(self) -> int:
        return self.action_chunks.shape[1]

    def images_of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        return {role: views[frames] for role, views in self.images.items()}

    def states_of(self, frames: np.ndarray) -> np.ndarray:
        return self.state[frames]

    def chunks_of(self, frames: np.ndarray) -> tuple[np.ndarray, None]:
        return self.action_chunks[frames], None

    def grounding_of(self, frames: np.ndarray) -> np.ndarray:
        return self.grounding[frames]

    def instructions_of(self, frames: np.ndarray) -> list[str]:
        return [self.instructions[frame] for frame in frames]

    def sub_steps_of(self, frames: np.ndarray) -> list[str]:
        return [self.sub_steps[frame] for frame in frames]

    def texts(self) -> list[str]:
        return [*self.instructions, *self.sub_steps]


def load_frames(
    folders: Sequence[Path], robot: RobotDescription, progress: Callable[[int, int], None] = lambda done, total: None
) -> FrameTable:
    """Read every episode of the datasets into memory.

    Args:
        progress: called with the number of episodes read and their total.

    Raises:
        UserError: a dataset is missing, empty, of another robot or horizon.
    """
    names = []
    horizons = {}
    objects: dict[tuple[str, ...], Path] = {}
    for folder in folders:
        index = open_dataset(folder)
        check_same_layout(index.robot, robot, f"the dataset {folder}")
        horizons[index.horizon] = folder
        objects[index.objects] = folder
        names += [(folder, name) for name in index.episodes]
    if len(horizons) > 1:
        found = ", ".join(f"{horizon} in {folder}" for horizon, folder in horizons.items())
        raise UserError(f"The datasets have different horizons ({found}); make them with one --horizon.")
    if len(objects) > 1:
        found = "; ".join(f"{', '.join(known)} in {folder}" for known, folder in objects.items())
        raise UserError(f"The datasets name different objects ({found}); train on datasets of one task.")
    if not names:
        listed = ", ".join(str(folder) for folder in folders)
        raise UserError(f"{listed}: there is no episode; record some with `dexvla demonstrate`.")
    episodes = []
    for folder, name in names:
        episodes.append(read_episode(folder, name))
        progress(len(episodes), len(names))
    lengths = [len(episode) for episode in episodes]
    images = {
        camera.role: np.concatenate([episode.images[camera.role] for episode in episodes]) for camera in robot.cameras
    }
    return FrameTable(
        images=images,
        state=np.concatenate([episode.state for episode in episodes]),
        action_chunks=np.concatenate([episode.action_chunks for episode in episodes]),
        grounding=np.concatenate(
            [
                np.concatenate([episode.grounding[camera.role] for camera in robot.cameras], axis=2)
                for episode in episodes
            ]
        ),
        objects=next(iter(objects)),
        instructions=[episode.instruction for episode in episodes for _ in range(len(episode))],
        sub_steps=[text for episode in episodes for text in episode.sub_steps],
        last_frame=np.repeat(np.cumsum(lengths) - 1, lengths),
    )
