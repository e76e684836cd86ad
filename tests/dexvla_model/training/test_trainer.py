"""The trainer: it learns, goes on exactly where it was stopped, and leaves a checkpoint that runs."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from dexvla_model.checkpoint import load_policy
from dexvla_model.errors import UserError
from dexvla_model.observation import Observation, RobotState
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer

UR5E = load_robot("ur5e")
HORIZON = 4


def colour_episode(seed: int) -> dict:
    """Frames that are all bright or all dark, with a sub-step and a motion that depend on which."""
    rng = np.random.default_rng(seed)
    length, bright = 6, seed % 2 == 0
    images, grounding = {}, {}
    for camera in UR5E.cameras:
        shape = (length, camera.model_height, camera.model_width, 3)
        images[camera.role] = rng.integers(170 if bright else 0, 255 if bright else 80, shape, dtype=np.uint8)
        cells = camera.model_height * camera.model_width // 28**2
        grounding[camera.role] = np.full((length, 1, cells), 255 if bright else 0, np.uint8)
    state = np.tile(UR5E.home_positions, (length, 1)) + rng.normal(0, 0.1, (length, 7))
    ramp = np.linspace(0.0, 0.3 if bright else -0.3, HORIZON)[None, :, None]
    return {
        "images": images,
        "state": state.astype(np.float32),
        "chunks": (state[:, None, :] + ramp).astype(np.float32),
        "grounding": grounding,
        "sub_steps": ["go left" if bright else "go right"] * length,
        "instruction": "move",
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_demonstrations):
    folder = tmp_path_factory.mktemp("data") / "colours"
    return write_demonstrations(folder, UR5E, ("light",), [colour_episode(seed) for seed in range(6)])


def trainer(dataset, output, *overrides: str, restart: bool = False) -> Trainer:
    settings = [
        f"datasets=['{dataset}']",
        f"output={output}",
        "model.vlm=nano",
        "model.expert=scaledp-nano",
        "optimization.steps=30",
        "optimization.batch_size=8",
        "optimization.chunks_per_frame=1",
        "optimization.warmup_steps=2",
        "optimization.ema_decay=0.8",
        "optimization.threads=1",
        "optimization.mixed_precision='no'",
        "logging.log_every_steps=10",
        "logging.checkpoint_every_steps=1000",
        *overrides,
    ]
    config = load_training_config(find_resource("config/training/pick_place_tiny.yaml"), settings)
    return Trainer(config, console=Console(file=io.StringIO()), restart=restart)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    return output, trainer(dataset, output).run()


def test_the_losses_fall(finished):
    output, summary = finished
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    for loss in ("action_loss", "language_loss", "grounding_loss"):
        assert lines[-1][loss] < 0.8 * lines[0][loss]
    assert summary["steps"] == 30


def test_the_checkpoint_loads_as_a_policy_and_says_where_it_comes_from(finished):
    _, summary = finished
    policy = load_policy(summary["checkpoint"], UR5E)
    policy.reset(0)
    images = {camera.role: np.zeros((camera.model_height, camera.model_width, 3), np.uint8) for camera in UR5E.cameras}
    state = RobotState(1.0, UR5E.home_positions)
    substep = policy.reason(Observation(1.0, images, state), "move")
    assert policy.act(substep, state).positions.shape == (HORIZON, 7)
    provenance = json.loads((finished[0] / "checkpoint" / "config.json").read_text())["provenance"]
    assert provenance["steps"] == 30
    assert "dexvla train" in provenance["command"]


def test_a_run_that_was_stopped_ends_with_the_same_weights(dataset, finished, tmp_path):
    class Stop(Trainer):
        def _train_step(self, batch):
            if self.step == 13:
                raise KeyboardInterrupt
            return super()._train_step(batch)

    stopped = trainer(dataset, tmp_path)
    stopped.__class__ = Stop
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    del stopped
    resumed = trainer(dataset, tmp_path)
    assert resumed.step == 13
    resumed.run()
    ours = torch.load(tmp_path / "state.pt", weights_only=True)["model"]
    uninterrupted = torch.load(finished[0] / "state.pt", weights_only=True)["model"]
    for name, weight in uninterrupted.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=0, msg=name)


def test_restart_begins_anew(dataset, finished, tmp_path):
    trainer(dataset, tmp_path, "optimization.steps=2").run()
    again = trainer(dataset, tmp_path, "optimization.steps=2")
    assert again.step == 2
    del again
    assert trainer(dataset, tmp_path, "optimization.steps=2", restart=True).step == 0


def test_training_goes_on_from_another_runs_checkpoint(dataset, finished, tmp_path):
    _, summary = finished
    more = trainer(dataset, tmp_path / "more", f"initial_checkpoint={summary['checkpoint']}", "optimization.steps=1").run()
    fresh = trainer(dataset, tmp_path / "fresh", "optimization.steps=1").run()
    assert more["language_loss"] < 0.6 * fresh["language_loss"]


def test_two_runs_do_not_share_a_folder(dataset, tmp_path):
    first = trainer(dataset, tmp_path)
    with pytest.raises(UserError, match="another `dexvla train`"):
        trainer(dataset, tmp_path)
    assert first.step == 0


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(dataset, tmp_path):
    broken = trainer(dataset, tmp_path, "optimization.learning_rate=1.0", "optimization.gradient_clip=1e6")
    with torch.no_grad():
        broken._plain_model.fusion.reasoning_action_proj.mlps[0].weight.fill_(float("nan"))
    with pytest.raises(UserError, match="no longer finite at step 0"):
        broken.run()
    saved = torch.load(tmp_path / "not_finite.pt", weights_only=True)
    assert saved["step"] == 0 and saved["batch"][0]["state"].shape[0] == 8


def test_a_state_of_another_model_is_refused(dataset, tmp_path):
    trainer(dataset, tmp_path, "optimization.steps=1").run()
    with pytest.raises(UserError, match="state.pt.*--restart"):
        trainer(dataset, tmp_path, "optimization.steps=2", "model.text={num_hidden_layers: 1}")
