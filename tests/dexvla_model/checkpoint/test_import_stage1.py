"""Stage-1 files and plain Qwen-VL folders: experts alone, and the two joined, which is what stage 2 starts
from."""

import os

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import Checkpoint, load_checkpoint, load_policy, save_checkpoint
from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.conditioning.config import image_encoder_preset, sentence_encoder_preset
from dexvla_model.conditioning.stage1 import Stage1Config, Stage1Model
from dexvla_model.dexvla import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.official import expert_from_official
from dexvla_model.vlm import ImageSize

HEADS = {"attention_heads": 4}


@torch.no_grad()
def test_a_stage1_file_becomes_an_expert_that_computes_the_same(make_expert, stage1_file, tmp_path):
    weights = make_expert(state=5, action=3, horizon=9)
    report = import_checkpoint(ImportRequest(stage1_file(weights), tmp_path / "expert", **HEADS))
    model = load_checkpoint(tmp_path / "expert").model
    generator = torch.Generator().manual_seed(1)
    x, condition, state = (torch.randn(2, *size, generator=generator) for size in ((9, 3), (64,), (5,)))
    t = torch.tensor([0, 50])
    published = expert_from_official(weights, prediction_horizon=9, num_heads=4)
    expected = published.predict_noise(x, t, condition, state)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(model.expert(x, t, condition, state, "imported"), expected)
    assert report.left_over_tensors == {
        "obs_encoder.nets.backbone.conv1.weight": "stage 1's own encoders",
        "obs_encoder.nets.backbone.bn1.num_batches_tracked": "stage 1's own encoders",
    }
    assert report.initialised.tensors == 0


def test_averaged_weights_on_request(stage1_file, tmp_path):
    path = stage1_file()
    for name, averaged in (("plain", False), ("averaged", True)):
        import_checkpoint(ImportRequest(path, tmp_path / name, averaged=averaged, **HEADS))
    plain, averaged = (load_checkpoint(tmp_path / name).model.state_dict() for name in ("plain", "averaged"))
    key = "expert.blocks.1.attn.proj.weight"
    assert torch.equal(averaged[key], plain[key] + 1)


def test_statistics_as_arrays_may_stand_beside_the_weights(stage1_file, tmp_path):
    path = stage1_file(statistics={"mean": np.ones(3), "count": np.arange(2)})
    assert import_checkpoint(ImportRequest(path, tmp_path / "expert", **HEADS)).loaded.tensors > 0


@pytest.fixture
def malicious_pickle(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'it_ran'}",)

    path = tmp_path / "bad.ckpt"
    torch.save({"nets": {"nets": {"policy.noise_pred_net.x": torch.ones(1)}}, "config": Malicious()}, path)
    return path


def test_code_in_a_stage1_file_is_not_run(malicious_pickle, tmp_path):
    with pytest.raises(UserError, match="bad.ckpt holds more than tensors and would have to run code"):
        import_checkpoint(ImportRequest(malicious_pickle, tmp_path / "expert"))
    assert not (tmp_path / "it_ran").exists()
    torch.load(malicious_pickle, weights_only=False)
    assert (tmp_path / "it_ran").exists()


def test_a_trunk_without_a_head_is_taken_and_the_rest_initialised(make_expert, stage1_file, tmp_path):
    # What a file holds whose heads and condition were left out.
    weights = {
        name: tensor
        for name, tensor in make_expert().items()
        if not name.startswith(("x_embedder", "final_layer.linear", "pos_embed", "combine", "cond_obs_emb"))
    }
    report = import_checkpoint(ImportRequest(stage1_file(weights), tmp_path / "expert", **HEADS))
    assert report.heads == {}
    assert report.loaded.tensors == len(weights)
    assert {name.split(".")[1] for name in report.initialised_tensors} == {"combine", "cond_obs_emb"}
    expert = load_checkpoint(tmp_path / "expert").model.expert
    assert expert.config.condition_width == 1536
    assert torch.equal(expert.blocks[1].mlp.fc1.weight, weights["blocks.1.mlp.fc1.weight"])


def test_a_qwen_folder_becomes_a_backbone_with_a_new_expert(qwen_folder, tmp_path, robot):
    request = ImportRequest(qwen_folder.write(), tmp_path / "ours", robot, expert="scaledp-nano", horizon=12)
    report = import_checkpoint(request)
    model = load_checkpoint(tmp_path / "ours").model
    for name, tensor in qwen_folder.qwen.state_dict().items():
        assert torch.equal(model.vlm.qwen.state_dict()[name], tensor), name
    assert report.initialised_parts.keys() == {"fusion", "expert trunk", "head ur5e_2f85"}
    assert model.config.embodiments["ur5e_2f85"].head.horizon == 12
    assert not model.fusion.reasoning_film.scale_fc.weight.any()
    assert model.expert.blocks[0].attn.qkv.weight.std() > 0.05
    with pytest.raises(UserError, match="cannot drive"):
        load_policy(tmp_path / "ours", robot)


def test_what_is_initialised_depends_on_the_seed_alone(qwen_folder, tmp_path):
    qwen_folder.write()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(name) + seed * 5)
        before = torch.get_rng_state()
        import_checkpoint(ImportRequest(qwen_folder.path, tmp_path / name, expert="scaledp-nano", seed=seed))
        assert torch.equal(before, torch.get_rng_state())
    a, b, c = (load_checkpoint(tmp_path / name).model.expert.blocks[0].mlp.fc1.weight for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("from_qwen", [True, False])
def test_backbone_and_stage1_are_joined(make_expert, qwen_folder, stage1_file, tmp_path, robot, from_qwen):
    weights, qwen = make_expert(), qwen_folder.write()
    if from_qwen:
        request = ImportRequest(qwen, tmp_path / "ours", robot, stage1=stage1_file(weights), **HEADS)
    else:
        request = ImportRequest(stage1_file(weights), tmp_path / "ours", robot, backbone=qwen, **HEADS)
    report = import_checkpoint(request)
    model = load_checkpoint(tmp_path / "ours").model
    assert torch.equal(model.expert.blocks[1].attn.qkv.weight, weights["blocks.1.attn.qkv.weight"])
    assert torch.equal(model.expert.head("ur5e_2f85").action_in.weight, weights["x_embedder.weight"])
    assert torch.equal(model.expert.combine.condition_in.weight, weights["combine.0.weight"][:, :64])
    # As the published stage 2 does: what embedded stage 1's condition starts anew.
    assert {name for name in report.initialised_tensors if name.startswith("expert.")} == {
        "expert.cond_obs_emb.weight",
        "expert.cond_obs_emb.bias",
    }
    assert report.left_over_tensors["noise_pred_net.cond_obs_emb.weight"].startswith(
        "belongs to the condition"
    )


def test_a_stage1_of_another_condition_and_robot_gives_its_trunk(
    make_expert, qwen_folder, stage1_file, tmp_path, robot
):
    weights = make_expert(condition=50, state=14, action=14)
    request = ImportRequest(
        qwen_folder.write(), tmp_path / "ours", robot, stage1=stage1_file(weights), **HEADS
    )
    report = import_checkpoint(request)
    model = load_checkpoint(tmp_path / "ours").model
    assert torch.equal(model.expert.t_embedder.mlp[0].weight, weights["t_embedder.mlp.0.weight"])
    assert model.config.embodiments["ur5e_2f85"].head.action_size == 7
    assert {name.split(".")[1] for name in report.initialised_tensors if name.startswith("expert.")} == {
        "cond_obs_emb",
        "combine",
        "heads",
    }
    assert "noise_pred_net.x_embedder.weight" in report.left_over_tensors


def test_an_imported_expert_is_a_stage1_for_a_backbone(
    make_expert, qwen_folder, stage1_file, tmp_path, robot
):
    weights = make_expert()
    import_checkpoint(ImportRequest(stage1_file(weights), tmp_path / "expert", robot, **HEADS))
    with pytest.raises(UserError, match="an expert alone"):
        load_policy(tmp_path / "expert", robot)
    request = ImportRequest(qwen_folder.write(), tmp_path / "ours", robot, stage1=tmp_path / "expert")
    report = import_checkpoint(request)
    model = load_checkpoint(tmp_path / "ours").model
    assert torch.equal(model.expert.head("ur5e_2f85").action_out.weight, weights["final_layer.linear.weight"])
    assert report.initialised_parts.keys() == {"fusion"}


def test_an_averaged_set_that_is_not_there_is_named(make_expert, tmp_path):
    nets = {f"policy.noise_pred_net.{key}": tensor for key, tensor in make_expert().items()}
    torch.save({"nets": {"nets": nets, "ema": None}}, tmp_path / "plain.ckpt")
    with pytest.raises(
        UserError, match="nets.ema is missing or empty, the file holds nets: import it without --ema"
    ):
        import_checkpoint(ImportRequest(tmp_path / "plain.ckpt", tmp_path / "expert", averaged=True, **HEADS))


def test_a_sharded_import_of_a_stage1_file_is_the_same(stage1_file, tmp_path):
    path = stage1_file()
    import_checkpoint(ImportRequest(path, tmp_path / "one", **HEADS))
    import_checkpoint(ImportRequest(path, tmp_path / "many", max_shard_bytes=5000, **HEADS))
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 10
    one, many = (load_checkpoint(tmp_path / name).model.state_dict() for name in ("one", "many"))
    assert all(torch.equal(tensor, many[name]) for name, tensor in one.items())


def test_stage1_that_was_trained_here_goes_over_with_heads_statistics_and_robots(
    qwen_folder, tokenizer, robot, statistics, tmp_path
):
    expert = expert_preset("scaledp-nano")
    cameras = {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}
    config = Stage1Config(
        image_encoder_preset("resnet-nano"),
        sentence_encoder_preset("distilbert-nano"),
        expert,
        {robot.embodiment: Embodiment(EmbodimentConfig(7, 7, 6), cameras)},
        hidden_width=32,
    )
    stage1 = Stage1Model(config)
    names = {robot.embodiment: statistics}, {robot.embodiment: robot}
    save_checkpoint(tmp_path / "stage1", Checkpoint(stage1, tokenizer, *names))
    request = ImportRequest(qwen_folder.write(), tmp_path / "ours", stage1=tmp_path / "stage1")
    report = import_checkpoint(request)
    ours = load_checkpoint(tmp_path / "ours")
    for name, tensor in stage1.expert.state_dict().items():
        assert torch.equal(ours.model.expert.state_dict()[name], tensor), name
    assert report.initialised_parts.keys() == {"fusion"}
    assert set(report.left_over_tensors.values()) == {"stage 1's own encoders"}
    assert load_policy(tmp_path / "ours", robot).name == "ours"
