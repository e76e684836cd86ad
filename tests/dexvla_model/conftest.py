"""A DexVLA small enough to build in milliseconds, and what it needs around it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dexvla_model.data.demonstrator_labels import ACTION_CHUNK, GROUNDING_PREFIX, label_features
from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, marks_of_texts
from dexvla_model.dexvla import Batch, DexVLA, DexVLAConfig, Embodiment
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.normalization import Statistics, relative_to_state
from dexvla_model.observation import Observation, RobotState
from dexvla_model.robot import load_robot
from dexvla_model.vlm import ImageSize, backbone_preset, special_token_ids, train_tokenizer

HORIZON = 16


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Tensors made by running the published reference code; they stand beside the checkout, not in it."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip("the golden tensors of the published code are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def robot():
    return load_robot("ur5e")


@pytest.fixture(scope="session")
def tokenizer():
    numbers = [f"move above the cube at {x} {y}" for x in range(-60, 61, 5) for y in range(-60, 61, 5)]
    return train_tokenizer(["put the red cube in the tray", "close the gripper", "done"] * 20 + numbers, 512)


@pytest.fixture(scope="session")
def model_config(tokenizer, robot) -> DexVLAConfig:
    vlm = backbone_preset("nano", special_token_ids(tokenizer))
    cameras = {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}
    head = EmbodimentConfig(len(robot.state), len(robot.action), HORIZON)
    expert = expert_preset("scaledp-nano", condition_width=vlm.width)
    return DexVLAConfig(vlm, expert, {robot.embodiment: Embodiment(head, cameras)}, max_reasoning_tokens=12)


@pytest.fixture
def make_model(model_config):
    """A model whose weights are all random, so that nothing is hidden behind a zero."""

    def make(seed: int = 0, std: float = 0.1) -> DexVLA:
        torch.manual_seed(seed)
        model = DexVLA(model_config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.normal_(0, std)
        return model.eval()

    return make


@pytest.fixture
def statistics(robot) -> Statistics:
    generator = torch.Generator().manual_seed(5)
    states = torch.randn(200, len(robot.state), generator=generator)
    chunks = states.unsqueeze(1) + 0.3 * torch.randn(200, HORIZON, len(robot.action), generator=generator)
    return Statistics.measure(states, chunks, None, relative_to_state(robot))


@pytest.fixture
def make_images(robot):
    """Random images of all cameras, (B, H, W, 3) uint8 by role."""

    def make(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {
            camera.role: torch.randint(
                0,
                256,
                (count, camera.model_height, camera.model_width, 3),
                dtype=torch.uint8,
                generator=generator,
            )
            for camera in robot.cameras
        }

    return make


@pytest.fixture
def make_observation(robot, make_images):
    def make(seed: int = 0, stamp_s: float = 1.5) -> Observation:
        images = {role: batch[0].numpy() for role, batch in make_images(1, seed).items()}
        positions = np.linspace(-0.5, 0.5, len(robot.state))
        return Observation(stamp_s, images, RobotState(stamp_s, positions))

    return make


@pytest.fixture
def make_batch(robot, make_images):
    def make(prompt, instructions, sub_steps, chunks: int = 1, seed: int = 0) -> Batch:
        count = len(instructions)
        generator = torch.Generator().manual_seed(seed)
        state = torch.randn(count, chunks, len(robot.state), generator=generator)
        actions = torch.rand(count, chunks, HORIZON, len(robot.action), generator=generator) * 2 - 1
        tokens = prompt.encode(instructions, sub_steps)
        return Batch(robot.embodiment, make_images(count, seed), tokens, state, actions)

    return make


@pytest.fixture(scope="session")
def write_demonstrations():
    """Writes a dataset as `dexvla demonstrate` does; an episode is a mapping of arrays over its frames."""

    def write(folder, robot, objects, episodes, as_video=False):
        horizon = episodes[0]["chunks"].shape[1]
        extra = label_features(robot, horizon, objects)
        specification = DatasetSpecification.of_robot(robot, 10, as_video=as_video, extra=extra)
        writer = DatasetWriter.open(folder, specification)
        for number, content in enumerate(episodes):
            with writer.begin_episode(content["instruction"], f"episode {number}", threads=False) as episode:
                for frame, (state, chunk) in enumerate(zip(content["state"], content["chunks"])):
                    images = {role: views[frame] for role, views in content["images"].items()}
                    labels = {ACTION_CHUNK: chunk}
                    for role, seen in content["grounding"].items():
                        labels[GROUNDING_PREFIX + role] = seen[frame]
                    episode.add_frame(frame * 100_000_000, state, chunk[1], images, labels)
                episode.end(marks_of_texts(content["sub_steps"], 10), content.get("success", True))
        writer.finish()
        return folder

    return write
