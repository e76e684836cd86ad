"""A published DexVLA folder becomes a checkpoint that computes what the published weights compute."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2VLForConditionalGeneration

from dexvla_model.checkpoint import load_checkpoint, load_policy
from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.dexvla import Batch
from dexvla_model.errors import UserError
from dexvla_model.official import expert_from_official, fusion_from_official
from dexvla_model.vlm.images import pixel_values

INSTRUCTION = "put the red cube in the tray"
SAME = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def imported(dexvla_folder, absolute_robot, tmp_path):
    """The checkpoint of the published folder, for the robot."""
    report = import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours", absolute_robot))
    return tmp_path / "ours", report


@torch.no_grad()
def test_hidden_states_equal_those_of_transformers(
    imported, dexvla_folder, absolute_robot, make_images, tokenizer
):
    model = load_checkpoint(imported[0]).model
    prompt = model.prompt(tokenizer, absolute_robot.embodiment)
    tokens = prompt.encode([INSTRUCTION], ["close the gripper"])
    images = make_images(1, 3)
    unused = torch.zeros(1, 1)
    hidden = model.read(Batch(absolute_robot.embodiment, images, tokens, unused, unused), prompt)
    values, grids = zip(*(pixel_values(batch, model.vlm.geometry) for batch in images.values()), strict=True)
    theirs = dexvla_folder.qwen(
        input_ids=tokens.input_ids,
        attention_mask=torch.ones_like(tokens.input_ids),
        pixel_values=torch.cat(values),
        image_grid_thw=torch.cat(grids),
        mm_token_type_ids=(tokens.input_ids == dexvla_folder.qwen.config.image_token_id).int(),
        output_hidden_states=True,
    )
    torch.testing.assert_close(hidden, theirs.hidden_states[-1], **SAME)
    torch.testing.assert_close(model.vlm.logits(hidden), theirs.logits, **SAME)
    assert theirs.hidden_states[-1].abs().max() > 0.5


@torch.no_grad()
def test_fusion_and_expert_equal_the_published_ones(imported, dexvla_folder, absolute_robot):
    model = load_checkpoint(imported[0]).model
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(2, 9, 64, generator=generator)
    prompt_mask = torch.arange(9).expand(2, 9) < 5
    condition = model.fusion(hidden, prompt_mask, ~prompt_mask)
    fusion = fusion_from_official(dexvla_folder.fusion)
    torch.testing.assert_close(condition, fusion(hidden, prompt_mask, ~prompt_mask), **SAME)
    expert = expert_from_official(dexvla_folder.expert, prediction_horizon=6, num_heads=4)
    x, state = torch.randn(2, 6, 7, generator=generator), torch.randn(2, 7, generator=generator)
    t = torch.tensor([3, 90])
    ours = model.expert(x, t, condition, state, absolute_robot.embodiment)
    published = expert.predict_noise(x, t, condition, state)
    assert published.abs().max() > 0.1
    torch.testing.assert_close(ours, published, **SAME)


def test_normalisation_equals_the_published_formulas(imported, dexvla_folder, absolute_robot):
    statistics = load_checkpoint(imported[0]).statistics[absolute_robot.embodiment]
    stats = dexvla_folder.statistics
    generator = np.random.default_rng(5)
    qpos, action = generator.uniform(-1, 1, (5, 7)), generator.uniform(-1, 1, (5, 6, 7))
    published_state = (qpos - stats["qpos_mean"]) / stats["qpos_std"]
    low, high = stats["action_min"].astype(np.float64), stats["action_max"].astype(np.float64)
    published_action = (action - low) / (high - low) * 2 - 1
    states, actions = torch.from_numpy(qpos), torch.from_numpy(action)
    torch.testing.assert_close(statistics.normalise_state(states), torch.from_numpy(published_state))
    normalised = statistics.normalise_actions(actions, states)
    torch.testing.assert_close(normalised, torch.from_numpy(published_action))
    published_back = (published_action + 1) / 2 * (high - low) + low
    torch.testing.assert_close(
        statistics.denormalise_actions(normalised, states), torch.from_numpy(published_back)
    )


def test_the_policy_reasons_and_acts(imported, absolute_robot, make_observation):
    policy = load_policy(imported[0], absolute_robot)
    policy.reset(1)
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    chunk = policy.act(substep, observation.state)
    assert chunk.positions.shape == (6, 7)
    assert np.isfinite(chunk.positions).all()
    assert policy.model.config.system == "You are a helpful assistant."
    assert policy.model.config.max_reasoning_tokens == 256


def test_the_report_accounts_for_every_tensor(imported, dexvla_folder):
    folder, report = imported
    assert report.loaded.tensors == len(dexvla_folder.tensors) + 1
    assert report.loaded.parameters == sum(tensor.numel() for tensor in dexvla_folder.tensors.values())
    assert report.loaded.bytes == 4 * report.loaded.parameters
    assert report.initialised.tensors == report.left_over.tensors == 0
    assert report.renamed["policy_head.combine.0.weight"] == [
        "expert.combine.condition_in.weight",
        "expert.heads.ur5e_2f85.state_in.weight",
    ]
    assert report.renamed["visual.patch_embed.proj.weight"] == [
        "vlm.qwen.model.visual.patch_embed.proj.weight"
    ]
    assert len(report.files) == 3
    assert json.loads((folder / "import.json").read_text()) == report.to_json()


def test_new_names_and_a_stored_output_layer_are_understood(dexvla_folder, tmp_path):
    head = {
        name: t for name, t in dexvla_folder.tensors.items() if not name.startswith(("visual.", "model."))
    }
    dexvla_folder.tensors = dict(dexvla_folder.qwen.state_dict()) | head
    dexvla_folder.tensors["model.language_model.rotary_emb.inv_freq"] = torch.ones(8)
    dexvla_folder.tensors["policy_head.norm_after_pool.weight"] = torch.ones(8)
    report = import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours"))
    assert report.left_over_tensors == {
        "lm_head.weight": "the output layer shares the embedding",
        "model.language_model.rotary_emb.inv_freq": "computed by the model",
        "policy_head.norm_after_pool.weight": "no part of the model",
    }
    qwen = load_checkpoint(tmp_path / "ours").model.vlm.qwen
    for name, tensor in dexvla_folder.qwen.state_dict().items():
        assert torch.equal(qwen.state_dict()[name], tensor), name


def test_an_output_layer_of_its_own_is_kept(dexvla_folder, tmp_path):
    dexvla_folder.config["tie_word_embeddings"] = False
    dexvla_folder.tensors["lm_head.weight"] = torch.randn(
        dexvla_folder.tensors["model.embed_tokens.weight"].shape
    )
    import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours"))
    qwen = load_checkpoint(tmp_path / "ours").model.vlm.qwen
    assert torch.equal(qwen.lm_head.weight, dexvla_folder.tensors["lm_head.weight"])
    assert qwen.lm_head.weight is not qwen.model.language_model.embed_tokens.weight


def test_bfloat16_stays_bfloat16(dexvla_folder, tmp_path):
    dexvla_folder.tensors = {name: tensor.bfloat16() for name, tensor in dexvla_folder.tensors.items()}
    report = import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours"))
    assert report.dtype == "bfloat16"
    with safe_open(tmp_path / "ours" / "model.safetensors", "pt") as file:
        name = "vlm.qwen.model.visual.merger.mlp.0.weight"
        assert torch.equal(file.get_tensor(name), dexvla_folder.tensors["visual.merger.mlp.0.weight"])
    report = import_checkpoint(ImportRequest(dexvla_folder.path, tmp_path / "wide", dtype=torch.float32))
    assert (report.dtype, report.loaded.bytes) == ("float32", 2 * report.loaded.parameters)


def test_statistics_and_tokenizer_of_the_folder_above_are_found(dexvla_folder, tmp_path):
    dexvla_folder.write()
    for name in ("dataset_stats.pkl", "tokenizer.json", "tokenizer_config.json"):
        (dexvla_folder.path / name).rename(tmp_path / name)
    import_checkpoint(ImportRequest(dexvla_folder.path, tmp_path / "ours"))
    assert set(load_checkpoint(tmp_path / "ours").statistics) == {"imported"}


def test_a_head_without_a_robot_drives_once_it_has_one(dexvla_folder, absolute_robot, tmp_path):
    report = import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "bare"))
    assert report.heads["imported"]["robot"] is None
    with pytest.raises(UserError, match="no head for the embodiment 'ur5e_2f85' of .*, it has: imported"):
        load_policy(tmp_path / "bare", absolute_robot)
    import_checkpoint(ImportRequest(dexvla_folder.path, tmp_path / "named", embodiment="ur5e_2f85"))
    with pytest.raises(UserError, match="imported without a robot file and cannot drive: give it one with"):
        load_policy(tmp_path / "named", absolute_robot)
    for name in ("bare", "named"):
        import_checkpoint(ImportRequest(tmp_path / name, tmp_path / f"{name}_robot", absolute_robot))
        assert load_policy(tmp_path / f"{name}_robot", absolute_robot).name == f"{name}_robot"


def test_without_statistics_the_head_cannot_drive_until_they_are_given(
    dexvla_folder, absolute_robot, tmp_path
):
    statistics, dexvla_folder.statistics = dexvla_folder.statistics, None
    report = import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours", absolute_robot))
    assert any("dataset_stats.pkl" in note for note in report.notes)
    with pytest.raises(UserError, match="imported without statistics and cannot drive"):
        load_policy(tmp_path / "ours", absolute_robot)
    dexvla_folder.statistics = statistics
    pickled = dexvla_folder.write() / "dataset_stats.pkl"
    import_checkpoint(
        ImportRequest(tmp_path / "ours", tmp_path / "whole", absolute_robot, statistics=pickled)
    )
    assert load_policy(tmp_path / "whole", absolute_robot)


def test_an_import_replaces_a_checkpoint_on_request_alone(imported, dexvla_folder, absolute_robot):
    before = sorted(path.name for path in imported[0].parent.iterdir())
    request = ImportRequest(dexvla_folder.path, imported[0], absolute_robot, embodiment="other")
    with pytest.raises(UserError, match="holds a checkpoint: .* --overwrite"):
        import_checkpoint(request)
    assert set(load_checkpoint(imported[0]).robots) == {"ur5e_2f85"}
    import_checkpoint(dataclasses.replace(request, overwrite=True))
    assert set(load_checkpoint(imported[0]).robots) == {"other"}
    assert sorted(path.name for path in imported[0].parent.iterdir()) == before
    with pytest.raises(UserError, match="is what is imported"):
        import_checkpoint(ImportRequest(imported[0], imported[0], overwrite=True))


def test_transformers_itself_reads_the_folder_that_was_built(qwen_folder):
    """The fixture is a Qwen2-VL folder as transformers knows it, so that the tests above compare with the
    real thing."""
    model = Qwen2VLForConditionalGeneration.from_pretrained(qwen_folder.write())
    for name, tensor in qwen_folder.qwen.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
