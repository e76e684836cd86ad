"""The training files of the baselines: each trains with the one trainer, and its checkpoint drives."""

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from dexvla_model.baselines.action_tokens_policy import ActionTokensPolicy
from dexvla_model.checkpoint import load_policy
from dexvla_model.conditioning import Stage1Policy
from dexvla_model.data.demonstrator_labels import ACTION_CHUNK, GROUNDING_PREFIX, label_features
from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.dexvla_policy import DexVLAPolicy
from dexvla_model.errors import UserError
from dexvla_model.expert import UNet
from dexvla_model.observation import Observation, RobotState
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer

UR5E = load_robot("ur5e")
HORIZON = 6
SMALL = {
    "diffusion_policy": ["model.expert=unet-nano", "model.image_encoder=resnet-nano",
                         "model.sentence_encoder=distilbert-nano"],
    "flow_matching": ["model.vlm=nano", "model.expert=scaledp-nano"],
    "action_tokens": ["model.vlm=nano"],
}
POLICIES = {
    "diffusion_policy": Stage1Policy, "flow_matching": DexVLAPolicy, "action_tokens": ActionTokensPolicy
}


def images(rng, bright: bool, length: int) -> dict[str, np.ndarray]:
    low, high = (170, 255) if bright else (0, 80)
    return {
        camera.role: rng.integers(low, high, (length, camera.model_height, camera.model_width, 3), np.uint8)
        for camera in UR5E.cameras
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Bright pictures mean up, dark ones down."""
    folder = tmp_path_factory.mktemp("data") / "lamps"
    labels = label_features(UR5E, HORIZON, ("lamp",))
    specification = DatasetSpecification.of_robot(UR5E, UR5E.rates.action_hz, as_video=False, extra=labels)
    writer = DatasetWriter.open(folder, specification)
    ramp = np.linspace(0.0, 0.3, HORIZON)[:, None]
    for seed in range(4):
        rng, up = np.random.default_rng(seed), seed % 2 == 0
        with writer.begin_episode("follow the lamp", str(seed)) as episode:
            for frame in range(6):
                state = UR5E.home_positions + rng.normal(0, 0.02, 7)
                chunk = state + (ramp if up else -ramp)
                shown = {
                    name: np.full(feature["shape"], 255 * up, np.uint8)
                    for name, feature in labels.items()
                    if name.startswith(GROUNDING_PREFIX)
                }
                seen = {role: views[0] for role, views in images(rng, up, 1).items()}
                stamp_ns = round(frame * 1e9 / UR5E.rates.action_hz)
                episode.add_frame(stamp_ns, state, chunk[1], seen, {ACTION_CHUNK: chunk} | shown)
            episode.end([SubStepMark(0.0, "go up" if up else "go down")])
    writer.finish()
    return folder


def trainer(name: str, dataset: Path, output: Path, *overrides: str) -> Trainer:
    settings = [
        f"datasets=['{dataset}']",
        f"output={output}",
        "optimization.steps=15",
        "optimization.batch_size=4",
        "optimization.chunks_per_frame=1",
        "optimization.max_delay_frames=0",
        "optimization.warmup_steps=1",
        "optimization.learning_rate=3.0e-3",
        "optimization.action_samples=8",
        "optimization.ema_decay=0.0",
        "optimization.threads=1",
        "optimization.mixed_precision='no'",
        "logging.log_every_steps=5",
        "logging.checkpoint_every_steps=1000",
        *SMALL[name],
        *overrides,
    ]
    config = load_training_config(find_resource(f"config/training/baselines/{name}.yaml"), settings)
    return Trainer(config, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """Function from a baseline's name to the folder of its run and its summary; each is trained once."""

    @cache
    def trained(name: str):
        output = tmp_path_factory.mktemp(name)
        return output, trainer(name, dataset, output).run()

    return trained


@pytest.mark.parametrize("name", SMALL)
def test_it_learns(run, name):
    output, summary = run(name)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15]
    assert lines[2]["action_loss"] < 0.95 * lines[0]["action_loss"]
    assert ("grounding_loss" in lines[0]) == (name != "diffusion_policy")
    assert ("action_accuracy" in lines[0]) == (name == "action_tokens")


@pytest.mark.parametrize("name", SMALL)
def test_its_checkpoint_is_a_policy_that_acts(run, name):
    policy = load_policy(run(name)[1]["checkpoint"], UR5E)
    assert type(policy) is POLICIES[name]
    policy.reset(0)
    state = RobotState(1.0, UR5E.home_positions)
    seen = {role: views[0] for role, views in images(np.random.default_rng(9), True, 1).items()}
    observation = Observation(1.0, seen, state)
    substep = policy.reason(observation, "follow the lamp")
    chunk = policy.act(policy.reason(observation, "follow the lamp", substep), state)
    assert chunk.positions.shape == (HORIZON, 7)
    bound = policy.act(substep, state, chunk.positions[:2] + 0.01, chunk.positions[2:4])
    np.testing.assert_array_equal(bound.positions[:2], chunk.positions[:2] + 0.01)


def test_what_each_of_them_is(run, dataset, tmp_path):
    models = {name: load_policy(run(name)[1]["checkpoint"], UR5E).model for name in SMALL}
    diffusion, flow, tokens = models.values()
    assert type(diffusion.expert) is UNet
    assert diffusion.config.sampling.solver == "ddim"
    assert (flow.expert.objective, flow.config.sampling.solver) == ("flow_matching", "euler")
    assert tokens.config.knots(UR5E.embodiment) == [0, 4, 5]
    with pytest.raises(UserError, match="model.action_tokens: key 'size' is unknown"):
        trainer("action_tokens", dataset, tmp_path / "b", "model.action_tokens.size=2")


def test_action_tokens_take_the_backbone_of_another_model(run, dataset, tmp_path):
    folder = run("flow_matching")[1]["checkpoint"]
    other = f"model={{vlm_checkpoint: '{folder}', action_tokens: {{bins: 64}}}}"
    # Behind the sizes of a new backbone, which it replaces.
    taken = trainer("action_tokens", dataset, tmp_path, other)._plain_model
    source = load_policy(folder, UR5E).model
    visual = "vlm.qwen.model.visual.merger.mlp.0.weight"
    assert torch.equal(taken.state_dict()[visual], source.state_dict()[visual])
    table = "vlm.qwen.model.language_model.embed_tokens.weight"
    old, new = source.state_dict()[table], taken.state_dict()[table]
    assert torch.equal(new[: len(old)], old)
    assert len(new) == len(old) + 64


def test_action_tokens_behind_a_frozen_tower_read_tokens_made_beforehand(dataset, tmp_path):
    frozen = ("train={vision: false, language_model: true, fusion: true}", "optimization.grounding_weight=0.0")
    losses = []
    for beforehand in ("true", "false"):
        output = tmp_path / beforehand
        made = trainer("action_tokens", dataset, output, *frozen, f"optimization.precompute_images={beforehand}")
        if beforehand == "true":
            made._plain_model.vlm.encode_images = None  # nobody asks the tower any more
        made.run()
        losses.append([json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
