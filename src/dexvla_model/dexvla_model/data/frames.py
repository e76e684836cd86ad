"""All frames of some datasets in memory, and the order in which training takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexvla_model.data.demonstrations import open_dataset, read_episode
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import check_same_layout


@dataclass
class FrameTable:
    """N frames of many episodes, one behind the other.

    Attributes:
        images: by camera role, (N, H, W, 3) uint8.
        state: (N, S) float32 rad. action_chunks: (N, T, A) float32 rad.
        grounding: (N, O, V) uint8, the share (of 255) of each of the V vision tokens that shows each object; tokens of
            all cameras in the robot file's order.
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

    def __len__(self) -> int:
        return len(self.state)

    @property
    def horizon(self) -> int:
        return self.action_chunks.shape[1]

    def later(self, frames: np.ndarray, delays: np.ndarray) -> np.ndarray:
        """Frames `delays` steps after `frames`, not beyond the end of their episodes; all of one (broadcast) shape."""
        return np.minimum(frames + delays, self.last_frame[frames])


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
        check_same_layout(index.robot, robot, f"(the dataset {folder})")
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


class FrameOrder:
    """Which frames make up the batch of a training step: a fresh shuffle every epoch, a function of (seed, step) alone.

    So a run that was stopped goes on with exactly the batches that it would have taken.
    """

    def __init__(self, frame_count: int, batch_size: int, seed: int):
        self._frame_count = frame_count
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def batch(self, step: int) -> np.ndarray:
        """(B,) frame indices of that step."""
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        return np.concatenate(
            [
                self._shuffled(epoch)[positions[positions // self._frame_count == epoch] % self._frame_count]
                for epoch in np.unique(positions // self._frame_count)
            ]
        )

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self._seed, int(epoch)]).permutation(self._frame_count)
            self._epoch = epoch
        return self._permutation
