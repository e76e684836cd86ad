"""A LeRobot dataset of version 2.0, 2.1 or 3.0 as the dataset of one of our robots, at another rate if need
be."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.data.importing.mapping import Mapping, VectorMap
from dexvla_model.data.importing.pipeline import ImportedEpisode
from dexvla_model.data.lerobot.layout import ACTION, IMAGE_PREFIX, STATE
from dexvla_model.data.lerobot.legacy import open_any_version
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry, as_array
from dexvla_model.data.recorded_frames import feature_names
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription

# Pictures that are decoded at a time.
_DECODED_AT_ONCE = 32


@dataclass
class LeRobotSource:
    """Episodes of a LeRobot dataset. See `EpisodeSource`.

    Attributes:
        robot: name or path of a robot file.
        state_key, action_key: features that hold state and action.
    """

    folder: Path
    robot: str
    mapping: Mapping = field(default_factory=Mapping)
    state_key: str = STATE
    action_key: str = ACTION

    def names(self) -> list[str]:
        return [f"{self.folder.resolve()}#{episode.index}" for episode in self._opened().episodes]

    def fps(self) -> float:
        return self._opened().fps

    def sizes(self, robot: RobotDescription) -> dict[str, tuple[int, int]]:
        """(width, height) of the dataset's pictures by camera role."""
        reader = self._opened()
        shapes = {
            role: reader.info.features[key]["shape"] for role, key in self._cameras(reader, robot).items()
        }
        return {role: (_side(shape, 1), _side(shape, 0)) for role, shape in shapes.items()}

    def read(self, index: int, robot: RobotDescription, fps: float) -> ImportedEpisode:
        """One episode; each frame at the new rate shows what the dataset had at or before its time."""
        reader = self._opened()
        episode = reader.episodes[index]
        steps = resampled(episode.length, reader.fps, fps)
        cameras = self._cameras(reader, robot)
        vectors = {}
        for key, entries, joints, what in (
            (self.state_key, self.mapping.state, robot.state_joints, "state"),
            (self.action_key, self.mapping.action, robot.action_joints, "action"),
        ):
            feature = reader.info.features.get(key)
            if feature is None:
                raise UserError(
                    f"{self.folder}: there is no feature {key}; the dataset's are "
                    f"{', '.join(reader.info.vector_keys)}."
                )
            values = as_array(reader.episode_table(episode, [key])[key], feature).reshape(episode.length, -1)
            chosen = VectorMap(
                entries, joints, feature_names(feature), values.shape[1], what, str(self.folder)
            )
            vectors[what] = chosen(values)[steps]
        return ImportedEpisode(
            instruction=episode.tasks[0] if episode.tasks else "",
            state=vectors["state"],
            action=vectors["action"],
            images=self._images(episode, cameras, steps),
            sub_steps=self._sub_steps().get(episode.index, ()),
            start_stamp_ns=episode.start_stamp_ns or 0,
            success=episode.success,
            outcome=episode.outcome,
        )

    def _images(
        self, episode: EpisodeEntry, cameras: dict[str, str], steps: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(steps), _DECODED_AT_ONCE):
            frames = episode.first + steps[first : first + _DECODED_AT_ONCE]
            decoded = {role: self._pictures.get(key, frames) for role, key in cameras.items()}
            for position in range(len(frames)):
                yield {role: images[position] for role, images in decoded.items()}

    def _cameras(self, reader: DatasetReader, robot: RobotDescription) -> dict[str, str]:
        found = {}
        for camera in robot.cameras:
            key = self.mapping.cameras.get(camera.role, IMAGE_PREFIX + camera.role)
            if key not in reader.info.camera_keys:
                known = ", ".join(reader.info.camera_keys) or "none"
                raise UserError(
                    f"{self.folder}: there is no camera {key} for the robot's camera {camera.role} (found: "
                    f"{known}); "
                    "name it under cameras in a file given with --mapping."
                )
            found[camera.role] = key
        return found

    def _opened(self) -> DatasetReader:
        if not hasattr(self, "_reader"):
            self._reader = open_any_version(self.folder)
            self._pictures = Pictures(self._reader)
        return self._reader

    def _sub_steps(self) -> dict:
        if not hasattr(self, "_marks"):
            self._marks = self._opened().sub_steps()
        return self._marks

    def __getstate__(self) -> dict:
        # Open files do not travel to other processes.
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def resampled(length: int, from_fps: float, to_fps: float) -> np.ndarray:
    """For each frame at the new rate the index of the frame that is the newest at its time."""
    count = int(np.floor((length - 1) / from_fps * to_fps + 1e-6)) + 1
    return np.minimum(np.floor(np.arange(count) / to_fps * from_fps + 1e-6).astype(int), length - 1)


def _side(shape: list[int], axis: int) -> int:
    """Height (0) or width (1): shapes are (H, W, C), or (C, H, W) in some datasets."""
    return shape[axis + 1] if shape[0] in (1, 3) and shape[2] not in (1, 3) else shape[axis]
