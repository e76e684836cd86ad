"""A nano dataset of two robots, and training files of every stage that use it."""

import io
import os

import numpy as np
import pytest
import yaml
from rich.console import Console

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer

FRAMES, EPISODES = 5, 6
SMALL = {
    "threads": 1,
    "batch_size": 8,
    "chunks_per_frame": 1,
    "warmup_steps": 1,
    "ema_decay": 0.8,
    "mixed_precision": "no",
}
SIZES = {
    1: {"expert": "scaledp-nano", "image_encoder": "resnet-nano", "sentence_encoder": "distilbert-nano",
        "hidden_width": 32, "vocabulary_size": 512, "horizon": 4},
    2: {"vlm": "nano", "vocabulary_size": 512, "horizon": 4},
    3: {},
}


@pytest.fixture(scope="session")
def two_robots(tmp_path_factory):
    """`robots` of a training file: bright frames go with a motion to one side, dark ones with the other."""
    folder, robots = tmp_path_factory.mktemp("two_robots"), []
    for name in ("ur5e", "fr3"):
        robot = load_robot(name)
        writer = DatasetWriter.open(folder / name, DatasetSpecification.of_robot(robot, 10))
        for seed in range(EPISODES):
            rng, bright = np.random.default_rng(seed), seed % 2 == 0
            with writer.begin_episode("move", str(seed)) as episode:
                for frame in range(FRAMES):
                    images = {
                        c.role: np.full((c.model_height, c.model_width, 3), 220 if bright else 40, np.uint8)
                        for c in robot.cameras
                    }
                    state = robot.home_positions + rng.normal(0, 0.1, len(robot.state))
                    episode.add_frame(frame * 100_000_000, state, state + (0.3 if bright else -0.3), images)
                episode.end([SubStepMark(0.0, "go left" if bright else "go right")])
        writer.finish()
        robots.append({"robot": name, "datasets": [str(folder / name)]})
    return robots


@pytest.fixture(scope="session")
def stage_file(two_robots):
    """Makes the shipped file of a stage at nano size: (stage, folder, changes) -> path."""

    def write(stage, folder, robots=None, **changes):
        values = yaml.safe_load(find_resource(f"config/training/stage{stage}.yaml").read_text())
        for key in ("robots", "robot", "datasets", "initial_checkpoint"):
            values.pop(key, None)
        optimization = values["optimization"] | SMALL | {"steps": 2} | changes.pop("optimization", {})
        sizes = changes.pop("sizes", SIZES[stage])
        values |= {"robots": robots or two_robots, "output": str(folder), "model": sizes}
        logging = {"log_every_steps": 1, "checkpoint_every_steps": 100}
        values |= {"optimization": optimization, "logging": logging}
        for key, change in changes.items():
            values[key] = values[key] | change if isinstance(values.get(key), dict) else change
        path = folder.with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.fixture(scope="session")
def stage_trainer(stage_file):
    """Makes the trainer of such a file."""

    def make(stage, folder, **changes):
        restart = changes.pop("restart", False)
        config = load_training_config(stage_file(stage, folder, **changes))
        return Trainer(config, console=Console(file=io.StringIO(), width=500), restart=restart)

    return make


@pytest.fixture(scope="session")
def stage1(stage_trainer, tmp_path_factory):
    """The folder of a finished run of stage 1."""
    folder = tmp_path_factory.mktemp("curriculum") / "stage1"
    stage_trainer(1, folder).run()
    return folder


@pytest.fixture(scope="session")
def stage2(stage_trainer, stage1):
    """The folder of a finished run of stage 2."""
    folder = stage1.parent / "stage2"
    stage_trainer(2, folder, initial_checkpoint=str(stage1 / "checkpoint")).run()
    return folder


@pytest.fixture
def cpu_environment():
    """Of a process that trains on CPUs."""
    return os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
