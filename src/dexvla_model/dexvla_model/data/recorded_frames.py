"""A LeRobot dataset as a source of frames: numbers in memory, pictures there too or decoded when they are
needed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dexvla_model.data.demonstrator_labels import (
    ACTION_CHUNK,
    GROUNDING_PREFIX,
    chunk_columns,
    grounded_objects,
    labelled_horizon,
    spread_objects,
)
from dexvla_model.data.held_pictures import fit_in_memory, hold_pictures
from dexvla_model.data.lerobot.language import texts_of_marks
from dexvla_model.data.lerobot.layout import ACTION, IMAGE_PREFIX, STATE
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry
from dexvla_model.errors import UserError
from dexvla_model.observation import resize_image
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import check_same_layout


class RecordedFrames:
    """Frames of a dataset's episodes as one robot sees them. See `FrameSource`.

    Frames before the first sub-step, and those of datasets without sub-steps, have the instruction as their
    sub-step.

    Args:
        horizon: rows of an action chunk. They are the first ones of the dataset's own chunks where a
            demonstrator left some; otherwise a row is the action that was commanded at the frame of that
            time. None for all rows that the dataset has.
        only_success: leave episodes out that are known to have failed.
        cameras: feature of each camera role, where it is not `observation.images.ROLE`.
        in_memory: decode all pictures now and hold them; None to do so where they take no more than a quarter
            of the free memory.
        progress: called with the number of pictures decoded now and their total.

    Raises:
        UserError: the dataset is damaged, or does not fit the robot.
    """

    def __init__(
        self,
        folder: Path,
        robot: RobotDescription,
        horizon: int | None,
        only_success: bool = False,
        cameras: Mapping[str, str] | None = None,
        in_memory: bool | None = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        reader = DatasetReader(folder)
        if reader.robot is not None:
            check_same_layout(reader.robot, robot, f"the dataset {folder}")
        labelled = labelled_horizon(reader.info, robot)
        self.horizon = _horizon(folder, horizon, labelled)
        self.stride = _stride(reader, robot)
        self._robot = robot
        self._pictures = Pictures(reader)
        self._features = {
            camera.role: _camera_feature(reader, camera.role, cameras or {}) for camera in robot.cameras
        }
        episodes = [episode for episode in reader.episodes if not (only_success and episode.success is False)]
        if not episodes:
            raise UserError(
                f"{folder}: there is no episode to train on; record some, or allow those that failed."
            )
        self._known = grounded_objects(reader.info, robot, folder)
        self.objects = self._known
        grounding = [GROUNDING_PREFIX + camera.role for camera in robot.cameras if self._known]
        columns = reader.columns([STATE, ACTION, *grounding, *([ACTION_CHUNK] if labelled else [])])
        # Where our n-th frame stands among all of the dataset's.
        self._frame = np.concatenate([np.arange(e.first, e.first + e.length) for e in episodes])
        self._state = _selected(columns[STATE], reader, STATE, robot.state_joints)[self._frame]
        self._action = _selected(columns[ACTION], reader, ACTION, robot.action_joints)[self._frame]
        self._chunks = None
        if labelled:
            chunks = columns[ACTION_CHUNK][:, : self.horizon, chunk_columns(reader.info, robot, folder)]
            self._chunks = np.ascontiguousarray(chunks[self._frame], dtype=np.float32)
        self._grounding = None
        if grounding:
            self._grounding = np.concatenate([columns[name] for name in grounding], axis=2)[self._frame]
        _check_finite(folder, episodes, self._state, self._action, self._chunks)
        lengths = [episode.length for episode in episodes]
        self.last_frame = np.repeat(np.cumsum(lengths) - 1, lengths)
        marks = reader.sub_steps()
        self._instructions: list[str] = []
        self._sub_steps: list[str] = []
        for episode in episodes:
            instruction = episode.tasks[0] if episode.tasks else ""
            said = texts_of_marks(marks[episode.index], episode.length, reader.fps)
            self._instructions += [instruction] * episode.length
            self._sub_steps += [text or instruction for text in said]
        if in_memory is None:
            in_memory = fit_in_memory(len(self), robot)
        self._held = None
        if in_memory:
            self._held = hold_pictures(self._pictures, self._features, self._frame, robot, progress)

    def __len__(self) -> int:
        return len(self._frame)

    def images_of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        if self._held is not None:
            return {role: pictures[frames] for role, pictures in self._held.items()}
        images = {}
        for camera in self._robot.cameras:
            found = self._pictures.get(self._features[camera.role], self._frame[frames])
            images[camera.role] = np.stack([resize_image(image, camera) for image in found])
        return images

    def states_of(self, frames: np.ndarray) -> np.ndarray:
        return self._state[frames]

    def chunks_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self._chunks is not None:
            return self._chunks[frames], None
        rows = frames[..., None] + self.stride * np.arange(self.horizon)
        last = self.last_frame[frames][..., None]
        return self._action[np.minimum(rows, last)], rows > last

    def grounding_of(self, frames: np.ndarray) -> np.ndarray | None:
        if self._grounding is None:
            return None
        return spread_objects(self._grounding[frames], self._known, self.objects)

    def name_objects(self, objects: tuple[str, ...]) -> None:
        if self._known:
            self.objects = objects

    def instructions_of(self, frames: np.ndarray) -> list[str]:
        return [self._instructions[frame] for frame in frames]

    def sub_steps_of(self, frames: np.ndarray) -> list[str]:
        return [self._sub_steps[frame] for frame in frames]

    def texts(self) -> list[str]:
        return [*self._instructions, *self._sub_steps]


def feature_names(feature: Mapping) -> list[str] | None:
    """Names of a vector's entries; LeRobot keeps them as a list, or as a list in a table with one key."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        nested = [
            value for value in names.values() if isinstance(value, Sequence) and not isinstance(value, str)
        ]
        names = [name for value in nested for name in value]
    return [str(name) for name in names] if names else None


def _selected(values: np.ndarray, reader: DatasetReader, key: str, joints: tuple[str, ...]) -> np.ndarray:
    """Columns of the joints, by name where the dataset names them, as float32 (N, D)."""
    feature = reader.info.features[key]
    values = values.reshape(len(values), -1).astype(np.float32)
    names = feature_names(feature)
    if names is not None and all(joint in names for joint in joints):
        return values[:, [names.index(joint) for joint in joints]]
    if names is None and values.shape[1] == len(joints):
        return values
    found = ", ".join(names) if names else f"{values.shape[1]} entries without names"
    raise UserError(
        f"{reader.folder}: {key} holds {found}, but the robot has {', '.join(joints)}; map the dataset onto "
        f"the robot "
        f"with `dexvla dataset from-lerobot {reader.folder} --robot ROBOT --mapping FILE --out FOLDER`."
    )


def _camera_feature(reader: DatasetReader, role: str, cameras: Mapping[str, str]) -> str:
    key = cameras.get(role, IMAGE_PREFIX + role)
    if key not in reader.info.camera_keys:
        known = ", ".join(reader.info.camera_keys) or "none"
        raise UserError(
            f"{reader.folder}: there is no camera {key} for the robot's camera {role} (found: {known}); "
            f"name it under "
            "cameras: of that dataset in the training file."
        )
    return key


def _horizon(folder: Path, wanted: int | None, labelled: int | None) -> int:
    if wanted is None and labelled is None:
        raise UserError(
            f"{folder}: the dataset does not say how many rows an action chunk has; give model.horizon."
        )
    if labelled is not None and (wanted or 0) > labelled:
        raise UserError(
            f"{folder}: action chunks have {labelled} rows there, but the model has {wanted}; set a horizon "
            f"of at most {labelled}."
        )
    return wanted or labelled


def _stride(reader: DatasetReader, robot: RobotDescription) -> int:
    stride = reader.fps / robot.rates.action_hz
    if abs(stride - round(stride)) > 1e-6 or round(stride) < 1:
        raise UserError(
            f"{reader.folder}: the dataset has {reader.fps:g} frames per s, but actions of the robot "
            f"{robot.name} come "
            f"at {robot.rates.action_hz:g} Hz, which does not divide it; resample it with `dexvla dataset "
            f"from-lerobot "
            f"{reader.folder} --fps {robot.rates.action_hz:g} --out FOLDER`."
        )
    return round(stride)


def _check_finite(folder: Path, episodes: list[EpisodeEntry], *values: np.ndarray | None) -> None:
    known = [array for array in values if array is not None]
    good = np.all([np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in known], axis=0)
    if not good.all():
        ends = np.cumsum([episode.length for episode in episodes])
        bad = episodes[int(np.searchsorted(ends, np.argmin(good), side="right"))]
        raise UserError(
            f"{folder}: episode {bad.index} holds a state or action that is not finite; leave it out with "
            f"`dexvla dataset split`."
        )
