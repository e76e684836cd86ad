"""Every way in which a published checkpoint may not fit: one sentence with file, tensor or key, found and
expected."""

import dataclasses
import json
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.errors import UserError

SHARD = "model-00002-of-00003.safetensors"


def refused(request: ImportRequest, words: str) -> str:
    """The message, after it was made sure that nothing is left on the disk."""
    with pytest.raises(UserError, match=words) as caught:
        import_checkpoint(request)
    assert not request.out.exists()
    assert not [path for path in request.out.parent.iterdir() if path.name.startswith(f".{request.out.name}")]
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


@pytest.fixture
def request_of(dexvla_folder, tmp_path):
    def make(**changes) -> ImportRequest:
        return ImportRequest(dexvla_folder.write(), tmp_path / "ours", **changes)

    return make


def test_a_missing_shard(request_of, dexvla_folder):
    request = request_of()
    (dexvla_folder.path / SHARD).unlink()
    refused(request, rf"index.json: the shard {SHARD} with \d+ tensors such as '.*' is missing")


def test_a_tensor_of_the_index_that_is_not_in_its_shard(request_of, dexvla_folder):
    request = request_of()
    index = dexvla_folder.path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["visual.more.weight"] = SHARD
    index.write_text(json.dumps(content))
    refused(request, f"{SHARD}: tensor 'visual.more.weight', which model.safetensors.index.json places")


def test_a_shard_that_was_cut_short(request_of, dexvla_folder):
    request = request_of()
    shard = dexvla_folder.path / SHARD
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(request, f"{SHARD} cannot be read .*copy the whole folder again")


def test_a_damaged_index(request_of, dexvla_folder):
    request = request_of()
    (dexvla_folder.path / "model.safetensors.index.json").write_text("{}")
    refused(request, "index.json cannot be read")


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        (
            "visual.merger.mlp.2.weight",
            (5, 5),
            r"'visual.merger.mlp.2.weight' has shape \(5, 5\), expected is \(64, 128\)",
        ),
        (
            "reasoning_film.scale_fc.bias",
            (3,),
            r"'reasoning_film.scale_fc.bias' has shape \(3,\), expected is \(64,\)",
        ),
        ("policy_head.blocks.1.attn.qkv.weight", (72, 25), r"expected is \(72, 24\)"),
        (
            "policy_head.final_layer.linear.weight",
            (6, 24),
            "has 7 actions, policy_head.final_layer.linear.weight has 6",
        ),
    ],
)
def test_a_tensor_of_another_width(request_of, dexvla_folder, name, shape, words):
    dexvla_folder.tensors[name] = torch.zeros(shape)
    refused(request_of(), words)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.mlp.up_proj.weight",
        "reasoning_action_proj.mlps.2.bias",
        "policy_head.blocks.0.mlp.fc2.weight",
        "policy_head.t_embedder.mlp.0.weight",
        "policy_head.pos_embed",
        "model.embed_tokens.weight",
    ],
)
def test_a_missing_tensor(request_of, dexvla_folder, name):
    del dexvla_folder.tensors[name]
    refused(request_of(), name.removeprefix("policy_head.").split(".")[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(request_of, dexvla_folder, value):
    dexvla_folder.tensors["policy_head.combine.2.weight"][3, 3] = value
    refused(request_of(), "tensor 'policy_head.combine.2.weight' holds values that are not finite")


def test_a_lora_adapter_that_is_not_merged(request_of, dexvla_folder):
    dexvla_folder.tensors["model.layers.0.self_attn.q_proj.lora_A.weight"] = torch.zeros(2, 64)
    refused(request_of(), "q_proj.lora_A.weight' belongs to a LoRA adapter")
    (dexvla_folder.path / "adapter_config.json").write_text("{}")
    refused(request_of(), "merge it into its base model")


@pytest.mark.parametrize("key", ["state", "action"])
def test_a_robot_of_another_width(request_of, absolute_robot, key):
    shorter = dataclasses.replace(absolute_robot, **{key: getattr(absolute_robot, key)[:-1]})
    refused(request_of(robot=shorter), f"absolute.yaml: {key} has 6 entries, the head in .* has 7")


def test_a_robot_with_relative_actions(request_of, robot):
    refused(request_of(robot=robot), "action shoulder_pan_joint is relative, but the statistics")


def test_statistics_of_another_width(request_of, dexvla_folder):
    dexvla_folder.statistics = {key: value[..., :5] for key, value in dexvla_folder.statistics.items()}
    refused(request_of(), "dataset_stats.pkl: qpos_mean has 5 values, the head in .* has 7")


def test_no_tokenizer(request_of, dexvla_folder):
    request = request_of()
    (dexvla_folder.path / "tokenizer.json").unlink()
    refused(request, "tokenizer.json is missing.*--tokenizer")


def test_another_tokenizer(request_of, dexvla_folder):
    dexvla_folder.config["image_token_id"] = 151655
    refused(request_of(), "image_token_id is 151655, the tokenizer's .* is")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model_type", "llama", "model_type is 'llama', allowed are qwen2_vla, qwen2_vl"),
        ("policy_head_type", "act", "policy_head_type is 'act'"),
        ("policy_head_config", {}, "give --attention-heads"),
    ],
)
def test_a_config_that_does_not_fit(request_of, dexvla_folder, key, value, words):
    dexvla_folder.config |= {"policy_head_size": "none", key: value}
    refused(request_of(), words)


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("input_dim", "x_embedder"),
        ("state_dim", "combine.0"),
        ("prediction_horizon", "pos_embed"),
        ("cond_dim", "combine.4"),
    ],
)
def test_a_head_of_other_sizes_than_the_config_says(request_of, dexvla_folder, key, tensor):
    dexvla_folder.config["policy_head_config"][key] = 99
    refused(request_of(), f"policy_head_config.{key} is 99, but the tensor 'policy_head.{tensor}.*' shows")


def test_an_expert_for_another_backbone(request_of, dexvla_folder, make_expert):
    del dexvla_folder.config["policy_head_config"]["cond_dim"]
    dexvla_folder.tensors |= {f"policy_head.{k}": t for k, t in make_expert(condition=50).items()}
    refused(request_of(), "'policy_head.combine.4.weight' shows a condition of width 50, expected is .* 64")


def test_another_patch_size(request_of, dexvla_folder):
    dexvla_folder.config["vision_config"]["patch_size"] = 16
    refused(request_of(), "vision_config.patch_size is 16, the only one supported is 14")


def test_unknown_layouts(tmp_path):
    out = tmp_path / "ours"
    refused(ImportRequest(tmp_path / "nothing", out), "there is no checkpoint")
    (tmp_path / "empty").mkdir()
    refused(ImportRequest(tmp_path / "empty", out), "no checkpoint that is known")
    (tmp_path / "weights.onnx").write_text("")
    refused(
        ImportRequest(tmp_path / "weights.onnx", out),
        "'.onnx' is no checkpoint, allowed are folders and files that end",
    )
    (tmp_path / "bad.ckpt").write_bytes(b"garbage")
    refused(ImportRequest(tmp_path / "bad.ckpt", out), "bad.ckpt (cannot be read|holds more)")
    torch.save({"model": {}}, tmp_path / "other.ckpt")
    refused(ImportRequest(tmp_path / "other.ckpt", out), "other.ckpt: the table nets is missing")


def test_options_that_have_no_use(request_of, dexvla_folder, stage1_file, tmp_path):
    refused(request_of(stage1=stage1_file()), "--stage1 .*: .* is a published DexVLA folder")
    refused(request_of(backbone=tmp_path), "--qwen .*: .* is a published DexVLA folder")


def test_a_disk_that_is_full_from_the_start(request_of, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    refused(request_of(), r"needs 0.00 GB, .* has 0.00 GB free")


def test_a_disk_that_fills_up_while_writing(request_of):
    request = request_of()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        refused(request, "safetensors with .* GB cannot be written .*free space on the disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_with_other_things_in_it_is_not_overwritten(dexvla_folder, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="exists and is not a checkpoint"):
        import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "home"))
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
