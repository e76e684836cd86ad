"""Training on a LeRobot dataset: the same trainer, the same file, resumed exactly."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer

UR5E = load_robot("ur5e")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Bright frames go with a motion to one side, dark ones with the other."""
    folder = tmp_path_factory.mktemp("data") / "colours"
    writer = DatasetWriter.open(folder, DatasetSpecification.of_robot(UR5E, 10))
    for seed in range(6):
        rng, bright = np.random.default_rng(seed), seed % 2 == 0
        with writer.begin_episode("move", str(seed)) as episode:
            for frame in range(6):
                images = {
                    c.role: np.full((c.model_height, c.model_width, 3), 220 if bright else 40, np.uint8)
                    for c in UR5E.cameras
                }
                state = UR5E.home_positions + rng.normal(0, 0.1, 7)
                episode.add_frame(frame * 100_000_000, state, state + (0.3 if bright else -0.3), images)
            episode.end([SubStepMark(0.0, "go left" if bright else "go right")])
    writer.finish()
    return folder


def trainer(dataset, output, *overrides: str) -> Trainer:
    settings = [
        f"datasets=['{dataset}']",
        f"output={output}",
        "model.vlm=nano",
        "model.expert=scaledp-nano",
        "model.horizon=4",
        "optimization.steps=24",
        "optimization.batch_size=8",
        "optimization.chunks_per_frame=1",
        "optimization.warmup_steps=2",
        "optimization.ema_decay=0.8",
        "optimization.threads=1",
        "optimization.mixed_precision='no'",
        "logging.log_every_steps=8",
        "logging.checkpoint_every_steps=1000",
        *overrides,
    ]
    config = load_training_config(find_resource("config/training/pick_place_tiny.yaml"), settings)
    return Trainer(config, console=Console(file=io.StringIO()))


def test_it_learns_from_videos_with_augmentation_and_threads(dataset, tmp_path):
    trainer(dataset, tmp_path, "augmentation=published", "optimization.workers=2").run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["action_loss"] < 0.95 * lines[0]["action_loss"]
    assert lines[-1]["language_loss"] < 0.8 * lines[0]["language_loss"]


def test_a_run_that_was_stopped_ends_with_the_same_weights(dataset, tmp_path):
    class Stop(Trainer):
        def _train_step(self, batch):
            if self.step == 9:
                raise KeyboardInterrupt
            return super()._train_step(batch)

    settings = ("optimization.steps=14", "augmentation=published", "optimization.workers=1")
    whole = trainer(dataset, tmp_path / "whole", *settings)
    whole.run()
    stopped = trainer(dataset, tmp_path / "stopped", *settings)
    stopped.__class__ = Stop
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    del stopped
    resumed = trainer(dataset, tmp_path / "stopped", *settings)
    assert resumed.step == 9
    resumed.run()
    for ours, theirs in zip(resumed._plain_model.parameters(), whole._plain_model.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_file_says_what_is_mixed(dataset, tmp_path):
    whole, good = f"folder: '{dataset}', weight: 2", f"folder: '{dataset}', weight: 1, only_success: true"
    entry = f"datasets=[{{{whole}}}, {{{good}}}]"
    config = trainer(dataset, tmp_path, entry, "optimization.steps=2", "logging.log_every_steps=1")
    assert config.run()["steps"] == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("datasets=[{folder: a, weigth: 2}]", "datasets.0..weigth is no known key"),
        ("datasets=[{weight: 2}]", "datasets.0..folder is missing"),
        ("datasets=a", "datasets is 'a'.*a non-empty list"),
        ("augmentation=strong", "allowed are none, published"),
        ("augmentation={crop: 0}", "augmentation.crop is 0"),
    ],
)
def test_a_wrong_entry_is_named(override, expected):
    with pytest.raises(UserError, match=expected):
        load_training_config(find_resource("config/training/pick_place_tiny.yaml"), [override])
