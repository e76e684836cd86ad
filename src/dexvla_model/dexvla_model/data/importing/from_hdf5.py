"""Episodes of the published DexVLA code (HDF5, as ALOHA's) as a dataset of one of our robots.

An episode's file holds `/action` (N, A), `/observations/qpos` (N, S), `/observations/qvel`,
`/observations/images/CAMERA` (N, H, W, 3) uint8, or (N, L) encoded JPEG when the attribute `compress` is set;
`/language_raw`, one text, and `/substep_reasonings`, one text per frame (or `/reasoning`, one for all). The
attribute `sim` says that it was simulated.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from dexvla_model.data.importing.from_lerobot import resampled
from dexvla_model.data.importing.mapping import Mapping, VectorMap
from dexvla_model.data.importing.pipeline import ImportedEpisode
from dexvla_model.data.lerobot.language import SubStepMark, marks_of_texts
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription

SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True)
class Hdf5Source:
    """Episodes in HDF5 files. See `EpisodeSource`.

    Attributes:
        robot: name or path of a robot file.
        fps: rate at which the episodes were recorded; the files do not say it.
        shift_actions: rows by which actions stand too early. The published loader takes the action of the row
            before for recordings of real robots: None does that, and leaves simulated ones as they are.
        swap_colours: the pictures are in the order blue, green, red.
    """

    files: tuple[Path, ...]
    robot: str
    fps: float
    mapping: Mapping = field(default_factory=Mapping)
    shift_actions: int | None = None
    swap_colours: bool = False

    def names(self) -> list[str]:
        return [str(path.resolve()) for path in self.files]

    def sizes(self, robot: RobotDescription) -> dict[str, tuple[int, int]]:
        """(width, height) of the first episode's pictures by camera role."""
        images = next(self.read(0, robot, self.fps).images)
        return {role: (image.shape[1], image.shape[0]) for role, image in images.items()}

    def read(self, index: int, robot: RobotDescription, fps: float) -> ImportedEpisode:
        path = self.files[index]
        try:
            with h5py.File(path, "r") as file:
                return self._read(path, file, robot, fps)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{path}: this is no readable HDF5 episode ({error}); leave it out or restore it."
            ) from error

    def _read(self, path: Path, file: h5py.File, robot: RobotDescription, fps: float) -> ImportedEpisode:
        for key in ("action", "observations/qpos", "observations/images", "language_raw"):
            if key not in file:
                raise UserError(
                    f"{path}: there is no /{key} (found: {', '.join(file)}); name files of DexVLA episodes."
                )
        state, action = file["observations/qpos"][()], file["action"][()]
        if len(state) != len(action) or not len(state):
            raise UserError(
                f"{path}: /action has {len(action)} rows and /observations/qpos {len(state)}; leave it out."
            )
        real = not bool(file.attrs.get("sim", False))
        shift = self.shift_actions if self.shift_actions is not None else int(real)
        action = action[np.maximum(np.arange(len(action)) - shift, 0)]
        steps = resampled(len(state), self.fps, fps)
        state_map = VectorMap(
            self.mapping.state, robot.state_joints, None, state.shape[1], "state", str(path)
        )
        action_map = VectorMap(
            self.mapping.action, robot.action_joints, None, action.shape[1], "action", str(path)
        )
        cameras = {
            camera.role: self.mapping.cameras.get(camera.role, camera.role) for camera in robot.cameras
        }
        known = list(file["observations/images"])
        for role, camera in cameras.items():
            if camera not in known:
                raise UserError(
                    f"{path}: there is no camera {camera} for the robot's camera {role} (found: "
                    f"{', '.join(known)}); "
                    "name it under cameras in a file given with --mapping."
                )
            if len(file[f"observations/images/{camera}"]) != len(state):
                raise UserError(
                    f"{path}: the camera {camera} has another number of frames than /action; leave it out."
                )
        return ImportedEpisode(
            instruction=_text(file["language_raw"][()]),
            state=state_map(state)[steps],
            action=action_map(action)[steps],
            images=self._images(path, cameras, steps, bool(file.attrs.get("compress", False))),
            sub_steps=self._sub_steps(file, len(state)),
            metadata={"simulated": not real},
        )

    def _sub_steps(self, file: h5py.File, frames: int) -> list[SubStepMark]:
        for key in ("substep_reasonings", "reasoning"):
            if key in file:
                values = np.atleast_1d(file[key][()])
                texts = [_text(value) for value in values]
                texts = texts * frames if len(texts) == 1 else texts[:frames]
                texts += texts[-1:] * (frames - len(texts))
                return marks_of_texts(texts, self.fps)
        return []

    def _images(
        self, path: Path, cameras: dict[str, str], steps: Sequence[int], compressed: bool
    ) -> Iterator[dict[str, np.ndarray]]:
        with h5py.File(path, "r") as file:
            views = {role: file[f"observations/images/{camera}"] for role, camera in cameras.items()}
            for step in steps:
                yield {role: self._image(view[step], compressed, path) for role, view in views.items()}

    def _image(self, stored: np.ndarray, compressed: bool, path: Path) -> np.ndarray:
        image = np.asarray(stored)
        if compressed or image.ndim == 1:
            try:
                with Image.open(io.BytesIO(image.astype(np.uint8).tobytes())) as opened:
                    # OpenCV encoded arrays whose red it took for blue; so the first channel is JPEG's blue.
                    image = np.asarray(opened.convert("RGB"))[:, :, ::-1]
            except OSError as error:
                raise UserError(
                    f"{path}: an encoded image cannot be read ({error}); leave the episode out."
                ) from error
        if self.swap_colours:
            image = image[:, :, ::-1]
        return np.ascontiguousarray(image)


def find_episodes(paths: Sequence[Path]) -> tuple[Path, ...]:
    """HDF5 files among the paths and in the folders among them, sorted.

    Raises:
        UserError: a path does not exist, or there is no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [file for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES]
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist; name HDF5 files or folders with some.")
    if not found:
        raise UserError(
            f"{paths[0]}: there is no file that ends in {' or '.join(SUFFIXES)}; name another folder."
        )
    return tuple(found)


def _text(value: Any) -> str:
    """A text, however it is stored: bytes, str, or an array with one."""
    while isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return (value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)).strip()
