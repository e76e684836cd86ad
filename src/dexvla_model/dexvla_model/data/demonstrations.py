"""Demonstrations on disk: one folder, one `dataset.json`, one compressed .npz per episode.

Every frame holds what the policy would see there and what the demonstrator would do *from there* (its whole
action chunk), so that frames of disturbed episodes, or of episodes that another policy drove, are right
labels as well.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription, parse_robot

FORMAT_VERSION = 1
_INDEX_FILE = "dataset.json"
_EPISODE_FOLDER = "episodes"


@dataclass
class Episode:
    """One recorded episode of N frames at the robot's action rate.

    Attributes:
        images: by camera role, (N, H, W, 3) uint8 RGB at the size the model sees.
        state: (N, S) float32 rad, measured.
        action_chunks: (N, T, A) float32 rad; row k of frame n is the position the demonstrator commands k
            action steps after that frame.
        grounding: by camera role, (N, O, cells) uint8, the share (of 255) of the pixels of each vision token
            that show each of the dataset's objects; token cells row by row.
        sub_steps: N texts, what the demonstrator says at each frame.
        instruction: what the robot was told.
        seed: of the episode's world. success: whether the task was carried out in the end.
    """

    images: dict[str, np.ndarray]
    state: np.ndarray
    action_chunks: np.ndarray
    grounding: dict[str, np.ndarray]
    sub_steps: list[str]
    instruction: str
    seed: int
    success: bool

    def __len__(self) -> int:
        return len(self.state)


@dataclass
class DemonstrationIndex:
    """What `dataset.json` says about the episodes beside it; `objects` are the names that grounding refers to."""

    robot: RobotDescription
    task: str
    horizon: int
    objects: tuple[str, ...]
    episodes: list[str] = field(default_factory=list)


def create_dataset(folder: Path, robot: RobotDescription, task: str, horizon: int, objects: Sequence[str]) -> None:
    """Start a dataset in `folder`, or go on with one that is there already and has the same robot file and horizon.

    Raises:
        UserError: the folder holds something else.
    """
    index_path = folder / _INDEX_FILE
    if index_path.exists():
        index = open_dataset(folder)
        if index.robot.text != robot.text or index.horizon != horizon or index.task != task:
            raise UserError(
                f"{index_path}: the dataset there was made with another robot file, task ({index.task}) or horizon "
                f"({index.horizon}, now {horizon}); name another --out folder or remove it."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} exists and is no dataset; name an empty or new folder with --out.")
    (folder / _EPISODE_FOLDER).mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT_VERSION,
        "task": task,
        "horizon": horizon,
        "objects": list(objects),
        "action_hz": robot.rates.action_hz,
        "robot": robot.name,
        "robot_file": robot.text,
    }
    _write_atomically(index_path, json.dumps(content, indent=2).encode())


def open_dataset(folder: Path) -> DemonstrationIndex:
    """Read a dataset's index and the names of its episodes.

    Raises:
        UserError: there is none, or it is of another format.
    """
    index_path = folder / _INDEX_FILE
    if not index_path.is_file():
        raise UserError(
            f"{index_path} does not exist, so {folder} is no dataset; make one with `dexvla demonstrate --out {folder}`."
        )
    try:
        content = json.loads(index_path.read_text())
        version, robot_text = content["format"], content["robot_file"]
        task, horizon, objects = content["task"], content["horizon"], tuple(content["objects"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{index_path}: this is no dataset index ({error}); make the dataset again.") from error
    if version != FORMAT_VERSION:
        raise UserError(f"{index_path}: format is {version}, but this version reads {FORMAT_VERSION}; make it again.")
    robot = parse_robot(robot_text, _embedded_robot_path(index_path, content.get("robot", "robot")))
    names = sorted(path.name for path in (folder / _EPISODE_FOLDER).glob("*.npz"))
    return DemonstrationIndex(robot, task, horizon, objects, names)


def _embedded_robot_path(index_path: Path, name: str) -> Path:
    return index_path.parent / f"{name}.yaml"


def episode_name(seed: int) -> str:
    return f"episode_{seed:08d}.npz"


def has_episode(folder: Path, seed: int) -> bool:
    return (folder / _EPISODE_FOLDER / episode_name(seed)).is_file()


def write_episode(folder: Path, episode: Episode) -> Path:
    """Write one episode; a file of that name is either whole or absent."""
    path = folder / _EPISODE_FOLDER / episode_name(episode.seed)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    arrays = {f"images_{role}": frames for role, frames in episode.images.items()}
    arrays |= {f"grounding_{role}": cells for role, cells in episode.grounding.items()}
    with temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            state=episode.state.astype(np.float32),
            action_chunks=episode.action_chunks.astype(np.float32),
            sub_steps=np.array(episode.sub_steps),
            instruction=np.array(episode.instruction),
            seed=np.array(episode.seed),
            success=np.array(episode.success),
            **arrays,
        )
    temporary.replace(path)
    return path


def read_episode(folder: Path, name: str) -> Episode:
    """Read one episode.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / _EPISODE_FOLDER / name
    try:
        with np.load(path, allow_pickle=False) as arrays:
            by_role = {
                kind: {key.removeprefix(kind): arrays[key] for key in arrays if key.startswith(kind)}
                for kind in ("images_", "grounding_")
            }
            return Episode(
                images=by_role["images_"],
                grounding=by_role["grounding_"],
                state=arrays["state"],
                action_chunks=arrays["action_chunks"],
                sub_steps=[str(text) for text in arrays["sub_steps"]],
                instruction=str(arrays["instruction"]),
                seed=int(arrays["seed"]),
                success=bool(arrays["success"]),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: this episode is damaged ({error}); remove it and run `dexvla demonstrate` again.") from error


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
