"""Policies of LeRobot: how a robot's observation becomes theirs, and their actions the robot's."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dexvla_model.baselines.lerobot import load_lerobot_policy
from dexvla_model.baselines.lerobot.policy import LeRobotPolicy
from dexvla_model.baselines.lerobot.policy_features import policy_folder, read_features
from dexvla_model.data.lerobot.features import features_of_robot
from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation, Observation, RobotState
from dexvla_model.policy import InvalidOutput

ROWS = 20


def visual(width, height):
    return {"type": "VISUAL", "shape": [3, height, width]}


@pytest.fixture
def folder(tmp_path, robot) -> Path:
    """The folder of a policy that fits the robot, without weights that mean anything."""
    inputs = {
        f"observation.images.{camera.role}": visual(camera.model_width, camera.model_height)
        for camera in robot.cameras
    }
    inputs["observation.state"] = {"type": "STATE", "shape": [len(robot.state)]}
    outputs = {"action": {"type": "ACTION", "shape": [len(robot.action)]}}
    path = tmp_path / "pusher"
    path.mkdir()
    write(path / "config.json", {"type": "act", "input_features": inputs, "output_features": outputs})
    for name in ("model.safetensors", "policy_preprocessor.json", "policy_postprocessor.json"):
        (path / name).write_text("{}")
    return path


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | values)


def info_of(robot, fps=20.0, state=None, action=None) -> dict:
    features = features_of_robot(robot)
    features["observation.state"]["names"] = state or features["observation.state"]["names"]
    features["action"]["names"] = action or features["action"]["names"]
    return {"codebase_version": "v3.0", "fps": fps, "features": features}


class Recorded:
    """A policy that remembers its batches and commands the state plus one, two, three, ... in all joints."""

    def __init__(self):
        self.batches, self.resets = [], 0
        self.config = None

    def reset(self):
        self.resets += 1

    def predict_action_chunk(self, batch):
        self.batches.append(batch)
        steps = torch.arange(1, ROWS + 1)[None, :, None]
        return batch["observation.state"][:, None] + steps + 0.001 * torch.rand(1, 1, 1)


class WithHistory(Recorded):
    """As LeRobot's Diffusion Policy: observations and planned actions stand in queues."""

    def __init__(self):
        super().__init__()
        self._queues = {"observation.state": [], "action": []}

    def predict_action_chunk(self, batch):
        raise AssertionError("its queue would not know of this observation")

    def select_action(self, batch):
        self._queues["observation.state"].append(batch["observation.state"])
        if not self._queues["action"]:
            chunk = Recorded.predict_action_chunk(self, batch)
            self._queues["action"].extend(chunk.transpose(0, 1))
        return self._queues["action"].pop(0)


def batched(observation):
    """What LeRobot's preprocessor does besides normalising."""
    return {name: x if isinstance(x, str) else x.unsqueeze(0) for name, x in observation.items()}


def make_policy(folder, robot, policy=None, postprocess=lambda action: action):
    return LeRobotPolicy(policy or Recorded(), batched, postprocess, read_features(folder, robot), robot)


# ---------------------------------------------------------------------- what is matched


def test_without_a_dataset_numbers_are_in_the_robots_order(folder, robot):
    features = read_features(folder, robot)
    assert features.kind == "act"
    assert features.cameras == {camera.role: f"observation.images.{camera.role}" for camera in robot.cameras}
    assert features.state == features.action == tuple(range(7))
    assert features.row_s == 1 / robot.rates.action_hz


@pytest.mark.parametrize("place", ["copied", "named"])
def test_joints_are_matched_by_the_names_of_the_dataset(folder, robot, tmp_path, place):
    state, action = [*robot.state_joints], [*robot.action_joints]
    info = info_of(robot, 20.0, state[::-1], [f"{name}.pos" for name in action[3:] + action[:3]])
    root = folder if place == "copied" else tmp_path / "dataset"
    write(root / "meta" / "info.json", info)
    write(folder / "train_config.json", {"dataset": {"repo_id": "me/pushes", "root": str(root)}})
    features = read_features(folder, robot)
    assert features.state == (6, 5, 4, 3, 2, 1, 0)
    # The robot's first action is the policy's fifth.
    assert features.action == (4, 5, 6, 0, 1, 2, 3)
    assert features.row_s == 0.05


def test_a_dataset_of_ours_must_be_of_the_same_robot_file(folder, robot):
    write(folder / "meta" / "info.json", info_of(robot))
    changed = robot.text.replace("action_hz: 10.0", "action_hz: 20.0")
    assert changed != robot.text
    (folder / "meta" / "robot.yaml").write_text(changed)
    with pytest.raises(UserError, match="rates.action_hz is 10.0, but the dataset .* was made with 20.0"):
        read_features(folder, robot)


def test_what_does_not_fit_the_robot_is_named(folder, robot):
    config = json.loads((folder / "config.json").read_text())
    inputs = config["input_features"]
    for added, named in (
        ({"observation.images.top": visual(64, 64)}, "'observation.images.top', the cameras .* are scene"),
        ({"observation.environment_state": {"shape": [3]}}, "environment_state', which no robot"),
        ({"observation.state": {"shape": [9]}}, r"observation.state has shape \[9\], the robot file has 7"),
        ({"observation.images.scene": {"shape": [64, 64, 3]}}, r"needed is \[3, height, width\]"),
        ({"observation.state": {"size": 9}}, "not a table of features"),
    ):
        change(folder, input_features=inputs | added)
        with pytest.raises(UserError, match=named):
            read_features(folder, robot)
    change(folder, input_features=inputs, output_features={})
    with pytest.raises(UserError, match="commands nothing"):
        read_features(folder, robot)
    write(folder / "config.json", {})
    with pytest.raises(UserError, match="no policy of LeRobot"):
        read_features(folder, robot)


def test_other_joints_are_named(folder, robot):
    others = ["elbow.pos", *robot.action_joints[1:]]
    write(folder / "meta" / "info.json", info_of(robot, action=others))
    with pytest.raises(UserError, match="action of the dataset is elbow.pos, .* of the robot file shoulder"):
        read_features(folder, robot)


def test_the_folder_is_found_below_that_of_a_training_run(folder, tmp_path):
    run = tmp_path / "run" / "checkpoints" / "last"
    run.mkdir(parents=True)
    folder.rename(run / "pretrained_model")
    assert policy_folder(tmp_path / "run") == run / "pretrained_model"
    assert policy_folder(run) == run / "pretrained_model"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "policy_preprocessor.json"])
def test_a_file_that_is_missing_is_named(folder, robot, missing):
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing):
        load_lerobot_policy(folder, robot)


def test_where_lerobot_is_not_installed_the_command_for_it_is_said(folder, robot, monkeypatch):
    monkeypatch.setitem(sys.modules, "lerobot", None)
    with pytest.raises(UserError, match="needs LeRobot on Python 3.12.*`pip install --no-deps lerobot=="):
        load_lerobot_policy(folder, robot)
    with pytest.raises(UserError, match="dtype is 'bfloat16', allowed .* float32"):
        load_lerobot_policy(folder, robot, dtype="bfloat16")


# ---------------------------------------------------------------------- what it does


def test_an_observation_is_what_lerobot_expects(folder, robot, make_observation):
    change_size = json.loads((folder / "config.json").read_text())["input_features"]
    change_size["observation.images.wrist"] = visual(42, 28)
    change(folder, input_features=change_size)
    policy = Recorded()
    observation = make_observation(3)
    make_policy(folder, robot, policy).reason(observation, "push the cube")
    (batch,) = policy.batches
    assert batch["task"] == "push the cube"
    scene = batch["observation.images.scene"]
    assert (scene.dtype, scene.shape) == (torch.float32, (1, 3, 112, 140))
    np.testing.assert_allclose(scene[0, :, 5, 7], observation.images["scene"][5, 7] / 255, rtol=1e-6)
    assert batch["observation.images.wrist"].shape == (1, 3, 28, 42)
    np.testing.assert_allclose(batch["observation.state"][0], observation.state.positions, rtol=1e-6)


def test_its_actions_come_back_in_the_robots_order_and_time(folder, robot, make_observation):
    """The dataset has other orders, and twice the rate of the robot's rows."""
    state, action = [*robot.state_joints], [*robot.action_joints]
    write(folder / "meta" / "info.json", info_of(robot, 20.0, state[::-1], action[::-1]))
    policy = make_policy(folder, robot, postprocess=lambda action: 2 * action)
    observation = make_observation(stamp_s=1.0)
    substep = policy.reason(observation, "push the cube")
    assert (substep.text, substep.finished, substep.stamp_s) == ("push the cube", False, 1.0)
    chunk = policy.act(substep, observation.state)
    # Rows at 0, 2, 4, ... of the twenty, in which the policy adds 1, 3, 5, ...; then doubled.
    assert chunk.positions.shape == (10, 7)
    expected = 2 * (observation.state.positions + np.arange(1, 21, 2)[:, None])
    np.testing.assert_allclose(chunk.positions, expected, atol=0.01)
    later = policy.act(substep, RobotState(1.1, observation.state.positions))
    np.testing.assert_allclose(later.positions[:-1], chunk.positions[1:], atol=1e-6)


def test_a_policy_with_a_history_gets_every_observation_once(folder, robot, make_observation):
    inner = WithHistory()
    policy = make_policy(folder, robot, inner)
    for stamp_s in (1.0, 1.1, 1.2):
        substep = policy.reason(make_observation(stamp_s=stamp_s), "push the cube")
        assert len(substep.condition) == ROWS * 7
    assert len(inner.batches) == len(inner._queues["observation.state"]) == 3


def test_draws_depend_on_the_seed_alone(folder, robot, make_observation):
    policy = make_policy(folder, robot)

    def draws(seed):
        policy.reset(seed)
        conditions = []
        for _ in range(2):
            torch.rand(3)
            conditions.append(policy.reason(make_observation(), "push the cube").condition)
        return np.stack(conditions)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    policy.reset(7)
    assert torch.equal(torch.get_rng_state(), before)
    first = draws(7)
    assert np.array_equal(first, draws(7))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, draws(8))


def test_what_no_robot_may_follow_is_refused(folder, robot, make_observation):
    observation = make_observation()
    broken = make_policy(folder, robot, postprocess=lambda action: action * float("nan"))
    with pytest.raises(InvalidOutput, match="not finite"):
        broken.reason(observation, "push")
    with pytest.raises(InvalidOutput, match="has shape"):
        make_policy(folder, robot, postprocess=lambda action: action[:, :3]).reason(observation, "push")
    blind = Observation(1.0, {"scene": observation.images["scene"]}, observation.state)
    with pytest.raises(InvalidObservation, match="no image of the camera wrist"):
        make_policy(folder, robot).reason(blind, "push")


# ---------------------------------------------------------------------- with LeRobot itself


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_a_policy_that_lerobot_saved_drives_the_robot(kind, folder, robot, make_observation):
    factory = pytest.importorskip("lerobot.policies.factory", exc_type=ImportError)
    types = pytest.importorskip("lerobot.configs.types")
    inputs = {
        f"observation.images.{camera.role}": types.PolicyFeature(
            types.FeatureType.VISUAL, (3, camera.model_height, camera.model_width)
        )
        for camera in robot.cameras
    }
    for name, feature in inputs.items():
        inputs[name] = types.PolicyFeature(types.FeatureType.VISUAL, (3, 84, 84))
    inputs["observation.state"] = types.PolicyFeature(types.FeatureType.STATE, (7,))
    outputs = {"action": types.PolicyFeature(types.FeatureType.ACTION, (7,))}
    sizes = {
        "act": {"dim_model": 32, "n_heads": 2, "dim_feedforward": 64, "chunk_size": 16, "n_action_steps": 16,
                "n_encoder_layers": 1, "n_vae_encoder_layers": 1, "pretrained_backbone_weights": None},
        "diffusion": {"down_dims": (16, 32), "n_groups": 8, "horizon": 16, "n_action_steps": 8,
                      "num_train_timesteps": 4, "crop_shape": None, "diffusion_step_embed_dim": 16,
                      "pretrained_backbone_weights": None},
    }[kind]
    config = factory.make_policy_config(
        kind, input_features=inputs, output_features=outputs, device="cpu", push_to_hub=False, **sizes
    )
    torch.manual_seed(0)
    policy = factory.get_policy_class(kind)(config)
    lowest, highest = torch.linspace(-1, -0.4, 7), torch.linspace(0.4, 1, 7)
    numbers = {"min": lowest, "max": highest, "mean": (lowest + highest) / 2, "std": torch.ones(7)}
    statistics = {"observation.state": numbers, "action": numbers}
    image = {"min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.2}
    for name in inputs:
        if name not in statistics:
            statistics[name] = {key: torch.full((3, 1, 1), value) for key, value in image.items()}
    saved = folder.parent / "saved"
    policy.save_pretrained(saved)
    for processor in factory.make_pre_post_processors(config, dataset_stats=statistics):
        processor.save_pretrained(saved)

    loaded = load_lerobot_policy(saved, robot)
    observation = make_observation(stamp_s=2.0)
    plan = loaded.reason(observation, "push the cube")
    assert len(plan.condition) == {"act": 16, "diffusion": 8}[kind] * 7
    chunk = loaded.act(plan, observation.state)
    assert chunk.positions.shape == ({"act": 16, "diffusion": 8}[kind], 7)
    assert np.isfinite(chunk.positions).all()
    if kind == "act":
        # Against LeRobot's own way from an observation to an action.
        before, after = factory.make_pre_post_processors(config, str(saved))
        batch = before(loaded.observation(observation, "push the cube"))
        policy.eval()
        first = after(policy.select_action(batch))
        np.testing.assert_allclose(chunk.positions[0], first[0], atol=1e-5)
