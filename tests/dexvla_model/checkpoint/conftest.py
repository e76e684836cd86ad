"""Small checkpoints in the published layouts, made with transformers and under the published names."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import Qwen2VLForConditionalGeneration

from dexvla_model.robot import load_robot
from dexvla_model.vlm import backbone_preset, special_token_ids

WIDTH, STATES, ACTIONS, HORIZON = 64, 7, 7, 6


def expert_weights(
    depth=2,
    width=24,
    condition=WIDTH,
    state=STATES,
    action=ACTIONS,
    horizon=HORIZON,
    hidden=40,
    ratio=4,
    seed=7,
) -> dict[str, torch.Tensor]:
    """A published ScaleDP's state dict, all of it random."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "x_embedder": (width, action),
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "cond_obs_emb": (width, condition),
        "combine.0": (hidden, condition + state),
        "combine.2": (hidden, hidden),
        "combine.4": (condition, hidden),
        "final_layer.linear": (action, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (ratio * width, width),
            f"blocks.{i}.mlp.fc2": (width, ratio * width),
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
        }
    weights = {"pos_embed": torch.randn(1, horizon, width, generator=generator)}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        weights[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return weights


def fusion_weights(width=WIDTH, seed=8) -> dict[str, torch.Tensor]:
    """The published fusion's state dict, all of it random."""
    generator = torch.Generator().manual_seed(seed)
    linears = [f"{p}.mlps.{i}" for p in ("input_action_proj", "reasoning_action_proj") for i in (0, 2)]
    linears += ["reasoning_film.scale_fc", "reasoning_film.shift_fc"]
    weights = {}
    for name in linears:
        weights[f"{name}.weight"] = torch.randn(width, width, generator=generator) / width**0.5
        weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
    return weights


def published_statistics(states=STATES, actions=ACTIONS) -> dict[str, np.ndarray]:
    """What the published code pickles: float32, the extremes 1e-4 wider, the deviations at least 1e-2."""
    generator = np.random.default_rng(3)
    low = generator.uniform(-1, 0, actions).astype(np.float32)
    high = generator.uniform(0.5, 1, actions).astype(np.float32)
    low[-1] = high[-1]
    deviation = np.clip(generator.uniform(0, 0.5, states), 1e-2, np.inf).astype(np.float32)
    return {
        "action_mean": (low + high) / 2,
        "action_std": np.full(actions, 0.3, np.float32),
        "action_min": low - 0.0001,
        "action_max": high + 0.0001,
        "qpos_mean": generator.uniform(-1, 1, states).astype(np.float32),
        "qpos_std": deviation,
        "example_qpos": generator.uniform(-1, 1, (20, states)),
    }


@dataclass
class PublishedFolder:
    """A folder that is written as it stands whenever `write` is called."""

    path: Path
    tensors: dict[str, torch.Tensor]
    config: dict
    tokenizer: object
    qwen: Qwen2VLForConditionalGeneration
    statistics: dict | None = None
    shards: int = 1
    expert: dict[str, torch.Tensor] = field(default_factory=dict)
    fusion: dict[str, torch.Tensor] = field(default_factory=dict)

    def write(self) -> Path:
        self.path.mkdir(exist_ok=True)
        (self.path / "config.json").write_text(json.dumps(self.config))
        self.tokenizer.save_pretrained(self.path)
        if self.statistics is not None:
            (self.path / "dataset_stats.pkl").write_bytes(pickle.dumps(self.statistics))
        names = list(self.tensors)
        size = -(-len(names) // self.shards)
        places = {}
        for number in range(self.shards):
            chosen = names[number * size : (number + 1) * size]
            file = f"model-{number + 1:05}-of-{self.shards:05}.safetensors"
            file = "model.safetensors" if self.shards == 1 else file
            tensors = {name: self.tensors[name].contiguous().clone() for name in chosen}
            save_file(tensors, self.path / file, {"format": "pt"})
            places |= dict.fromkeys(chosen, file)
        if self.shards > 1:
            index = {"metadata": {"total_size": 0}, "weight_map": places}
            (self.path / "model.safetensors.index.json").write_text(json.dumps(index))
        return self.path


@pytest.fixture(scope="session")
def nano_qwen(tokenizer) -> Qwen2VLForConditionalGeneration:
    preset = backbone_preset("nano")
    config = type(preset)(preset.vision, preset.text, special_token_ids(tokenizer)).to_transformers()
    torch.manual_seed(2)
    model = Qwen2VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.1)
    return model


def flat_config(qwen: Qwen2VLForConditionalGeneration) -> dict:
    """config.json as transformers wrote it when DexVLA was published: the text fields at the top."""
    text, vision = qwen.config.text_config, qwen.config.vision_config
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    keys += ("max_position_embeddings", "vocab_size", "rms_norm_eps", "hidden_act")
    rope = text.rope_parameters
    return {key: getattr(text, key) for key in keys} | {
        "model_type": "qwen2_vl",
        "tie_word_embeddings": True,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        "image_token_id": qwen.config.image_token_id,
        "torch_dtype": "float32",
        "transformers_version": "4.41.2",
        "vision_config": {
            "depth": vision.depth,
            "embed_dim": vision.embed_dim,
            "num_heads": vision.num_heads,
            "mlp_ratio": vision.mlp_ratio,
            "hidden_size": vision.hidden_size,
            "in_chans": 3,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
    }


def old_names(qwen: Qwen2VLForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The backbone's weights under the names that they had then; the tied output layer is not stored."""
    found = {}
    for name, tensor in qwen.state_dict().items():
        if name != "lm_head.weight":
            name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
            found[name] = tensor.clone()
    return found


@pytest.fixture
def qwen_folder(tmp_path, nano_qwen, tokenizer) -> PublishedFolder:
    """A plain Qwen2-VL folder, in the old names."""
    return PublishedFolder(
        tmp_path / "qwen2_vl", old_names(nano_qwen), flat_config(nano_qwen), tokenizer, nano_qwen
    )


@pytest.fixture
def dexvla_folder(tmp_path, nano_qwen, tokenizer) -> PublishedFolder:
    """A published DexVLA, in three shards."""
    expert, fusion = expert_weights(), fusion_weights()
    config = flat_config(nano_qwen) | {
        "model_type": "qwen2_vla",
        "architectures": ["Qwen2VLForConditionalGenerationForVLA"],
        "policy_head_type": "scale_dp_policy",
        "policy_head_size": "ScaleDP_L",
        "policy_head_config": {
            "model_type": "scale_dp_policy",
            "num_heads": 4,
            "n_emb": 24,
            "depth": 2,
            "cond_dim": WIDTH,
            "state_dim": STATES,
            "prediction_horizon": HORIZON,
        },
        "using_film": True,
        "action_dim": ACTIONS,
        "state_dim": STATES,
    }
    tensors = (
        old_names(nano_qwen) | {f"policy_head.{name}": tensor for name, tensor in expert.items()} | fusion
    )
    return PublishedFolder(
        tmp_path / "checkpoint-60000",
        tensors,
        config,
        tokenizer,
        nano_qwen,
        published_statistics(),
        shards=3,
        expert=expert,
        fusion=fusion,
    )


@pytest.fixture
def make_expert():
    """State dicts of published experts of any size."""
    return expert_weights


@pytest.fixture
def stage1_file(tmp_path):
    """Writes a published stage-1 file: the expert and some tensors of its image encoder."""

    def write(expert: dict[str, torch.Tensor] | None = None, name: str = "scale_dp.ckpt", **more) -> Path:
        expert = expert_weights() if expert is None else expert
        nets = {f"policy.noise_pred_net.{key}": tensor for key, tensor in expert.items()}
        nets["policy.obs_encoder.nets.backbone.conv1.weight"] = torch.ones(4, 3, 7, 7)
        nets["policy.obs_encoder.nets.backbone.bn1.num_batches_tracked"] = torch.tensor(3)
        averaged = {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in nets.items()}
        path = tmp_path / name
        torch.save({"nets": {"nets": nets, "ema": averaged}, "steps": 100_000} | more, path)
        return path

    return write


@pytest.fixture
def absolute_robot(tmp_path, robot):
    """The UR5e with absolute actions, as the published data has them."""
    path = tmp_path / "absolute.yaml"
    path.write_text(robot.text.replace(", relative: true", ""))
    return load_robot(path)
