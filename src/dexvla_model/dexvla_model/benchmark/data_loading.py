"""How fast training data come out of LeRobot datasets: batches beside a tiny model's training, and single
frames.

Everything is measured on datasets that are made for it, of pictures with texture and sensor noise that move
from frame to
frame, by this stack's own writer with its defaults.
"""

import io
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.data.lerobot.decoding import VideoDecoder
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.resources import find_resource
from dexvla_model.robot import RobotDescription, load_robot, parse_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer

_SIDE, _HORIZON, _BATCH = 224, 50, 64
_FPS = 10.0


@dataclass(frozen=True)
class LoadingResult:
    """Speed of loading batches of 64 with two views of 224 x 224 pixels and chunks of 50 rows, in samples
    per s.

    Attributes:
        plain, augmented: loading alone, in one thread.
        training: a tiny model's training steps on batches that are there already.
        together: both at once, batches made ahead by one thread.
        threads: of torch while training.
    """

    plain: float
    augmented: float
    training: float
    together: float
    threads: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class AccessResult:
    """Cost of one frame at random out of a video of `frames` frames: median ms, and frames decoded for it."""

    frames: int
    median_ms: float
    decoded: float
    open_ms: float


@dataclass(frozen=True)
class SizeResult:
    """Bytes of a dataset, and of the same pictures and numbers raw."""

    dataset_bytes: int
    raw_bytes: int


def benchmark_data_loading(folder: Path, repeats: int = 5) -> dict[str, float]:
    """All of it, in a folder that may be thrown away: loading beside training, access by length, sizes."""
    robot = square_robot()
    size = write_benchmark_dataset(folder / "dataset", robot, episodes=4, frames=300)
    figures: dict[str, float] = {}
    for name, rate in benchmark_loading(folder / "dataset", robot, repeats).to_json().items():
        figures[name if name == "threads" else f"{name}_samples_per_s"] = rate
    for frames in (300, 3000, 12_000):
        access = benchmark_random_access(folder / f"video_{frames}", robot, frames)
        figures[f"frame_of_{frames}_ms"] = access.median_ms
        figures[f"decoded_for_a_frame_of_{frames}"] = access.decoded
    figures["dataset_share_of_raw"] = size.dataset_bytes / size.raw_bytes
    return figures


def square_robot() -> RobotDescription:
    """The UR5e with both cameras seen at 224 x 224 pixels."""
    ur5e = load_robot("ur5e")
    text = ur5e.text
    for camera in ur5e.cameras:
        text = text.replace(
            f"model_size: [{camera.model_width}, {camera.model_height}]", f"model_size: [{_SIDE}, {_SIDE}]"
        )
    return parse_robot(text, ur5e.path)


def write_benchmark_dataset(folder: Path, robot: RobotDescription, episodes: int, frames: int) -> SizeResult:
    """Write episodes of moving, noisy pictures at the size that the robot's model sees."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter.open(folder, DatasetSpecification.of_robot(robot, _FPS))
    texture = rng.integers(40, 216, (20, 20, 3), dtype=np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    noise = rng.integers(0, 5, (8, 640, 640, 1), dtype=np.uint8)
    home = robot.home_positions
    raw = 0
    for number in range(episodes):
        with writer.begin_episode("put the red cube in the tray", f"benchmark {number}") as episode:
            for frame in range(frames):
                images = {}
                for camera in robot.cameras:
                    y, x = (frame * 2 + number * 37) % 400, (frame + number * 53) % 400
                    view = texture[y : y + camera.model_height, x : x + camera.model_width]
                    images[camera.role] = view + noise[frame % 8, : view.shape[0], : view.shape[1]]
                    raw += images[camera.role].nbytes
                state = home + 0.1 * np.sin(frame / 20 + np.arange(len(home)))
                raw += 2 * 4 * len(home)
                episode.add_frame(round(frame * 1e9 / _FPS), state, state, images)
            episode.end(
                [SubStepMark(0.0, "move above the cube"), SubStepMark(frames / _FPS / 2, "close the gripper")]
            )
    writer.finish()
    return SizeResult(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), raw)


def benchmark_loading(
    folder: Path, robot: RobotDescription, repeats: int = 5, threads: int = 2
) -> LoadingResult:
    """Measure on a dataset that `write_benchmark_dataset` made; `folder` also takes the training's output.

    Loading and training alternate, so that what else the machine does hits both.
    """
    robot_file = folder.parent / "robot.yaml"
    robot_file.write_text(robot.text, encoding="utf-8")
    trainers = {
        name: _trainer(folder, robot_file, folder.parent / f"run_{name}", threads, augmentation)
        for name, augmentation in (("plain", "none"), ("augmented", "published"))
    }
    taken: dict[str, list[float]] = {"plain": [], "augmented": [], "training": [], "together": []}
    for step in range(repeats + 1):
        for name, trainer in trainers.items():
            before_s = time.perf_counter()
            batch = [trainer._mixtures[0].batch(step)]
            taken[name].append(time.perf_counter() - before_s)
        before_s = time.perf_counter()
        trainers["plain"]._train_step(batch)
        taken["training"].append(time.perf_counter() - before_s)
    before_s = time.perf_counter()
    for number, batch in enumerate(trainers["augmented"]._mixtures[0].batches(0, repeats + 1, workers=1)):
        trainers["augmented"]._train_step([batch])
        if number == 0:
            before_s = time.perf_counter()
    taken["together"] = [0.0, (time.perf_counter() - before_s) / repeats]
    rates = {name: _BATCH / statistics.median(times[1:]) for name, times in taken.items()}
    return LoadingResult(**rates, threads=threads)


def benchmark_random_access(
    folder: Path, robot: RobotDescription, frames: int, accesses: int = 200
) -> AccessResult:
    """Reach frames all over a video of one episode in random order."""
    write_benchmark_dataset(folder, robot, episodes=1, frames=frames)
    place = next(iter(DatasetReader(folder).episodes[0].videos.values()))
    before_s = time.perf_counter()
    decoder = VideoDecoder(place.path)
    decoder.frames_at([0.0])
    open_ms = (time.perf_counter() - before_s) * 1e3
    decoded = decoder.decoded
    taken = []
    for frame in np.random.default_rng(1).integers(0, frames, accesses):
        before_s = time.perf_counter()
        decoder.frames_at([frame / _FPS])
        taken.append(time.perf_counter() - before_s)
    return AccessResult(
        frames, statistics.median(taken) * 1e3, (decoder.decoded - decoded) / accesses, open_ms
    )


def _trainer(folder: Path, robot_file: Path, output: Path, threads: int, augmentation: str) -> Trainer:
    overrides = [
        f"datasets=['{folder}']",
        f"robot='{robot_file}'",
        f"output='{output}'",
        f"augmentation={augmentation}",
        f"model.horizon={_HORIZON}",
        f"optimization.batch_size={_BATCH}",
        f"optimization.threads={threads}",
    ]
    config = load_training_config(find_resource("config/training/pick_place_tiny.yaml"), overrides)
    return Trainer(config, console=Console(file=io.StringIO()), restart=True)
