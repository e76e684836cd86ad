"""Checkpoint folders: round trip, replacement, and every way to be damaged."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dexvla_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dexvla_model.errors import UserError


@pytest.fixture
def checkpoint(make_model, tokenizer, statistics, robot):
    return Checkpoint(
        make_model(4), tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot}, {"steps": 12}
    )


@pytest.fixture
def folder(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "small", checkpoint)
    return tmp_path / "small"


def test_everything_comes_back(folder, checkpoint, robot):
    loaded = load_checkpoint(folder)
    assert loaded.model.config == checkpoint.model.config
    expected = checkpoint.model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.model.state_dict().items())
    assert loaded.robots[robot.embodiment].text == robot.text
    assert loaded.provenance == {"steps": 12}
    assert loaded.tokenizer.get_vocab() == checkpoint.tokenizer.get_vocab()


def test_bfloat16_halves_the_file_and_rounds_the_weights(checkpoint, folder, tmp_path):
    save_checkpoint(tmp_path / "half", checkpoint, torch.bfloat16)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half").model.state_dict()
    for name, weight in checkpoint.model.state_dict().items():
        assert torch.equal(loaded[name], weight.bfloat16().float())


def test_others_may_read_it(folder):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.rglob("*"))
    assert folder.stat().st_mode & 0o055 == 0o055


def test_tied_embeddings_are_stored_once(folder):
    names = load_file(folder / "model.safetensors")
    assert [name for name in names if "lm_head" in name or "embed_tokens" in name] == [
        "vlm.qwen.model.language_model.embed_tokens.weight"
    ]
    qwen = load_checkpoint(folder).model.vlm.qwen
    assert qwen.lm_head.weight is qwen.model.language_model.embed_tokens.weight


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(checkpoint, folder):
    (folder / "stale.txt").write_text("old")
    save_checkpoint(folder, checkpoint)
    assert not (folder / "stale.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_failed_save_leaves_the_old_checkpoint(checkpoint, folder, monkeypatch):
    before = (folder / "model.safetensors").read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("dexvla_model.checkpoint.folder.save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, checkpoint)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_folder_with_other_things_in_it_is_not_overwritten(checkpoint, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="exists and is not a checkpoint"):
        save_checkpoint(tmp_path / "home", checkpoint)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "statistics.json", "tokenizer.json", "robots"]
)
def test_a_missing_file_is_named(folder, file):
    path = folder / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=file):
        load_checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "statistics.json", "tokenizer.json"])
def test_a_damaged_file_is_named(folder, file):
    (folder / file).write_bytes(b"\x00garbage")
    with pytest.raises(UserError, match=f"{file} cannot be read"):
        load_checkpoint(folder)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint folder"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "format is 'other'"),
        ("version", 99, "version is 99, this program reads 1"),
        ("model", None, "key 'model' is missing"),
        ("robots", {"ur5e_2f85": "robots/gone.yaml"}, "robots.ur5e_2f85 is .robots/gone.yaml."),
        ("kind", "stage9", "kind is .stage9., allowed are dexvla, stage1, expert"),
    ],
)
def test_a_config_that_does_not_fit_names_its_key(folder, key, value, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "nan"])
def test_a_tensor_that_does_not_fit_is_named(folder, damage):
    path, name = folder / "model.safetensors", "fusion.reasoning_film.shift_fc.bias"
    tensors = load_file(path)
    if damage == "missing":
        del tensors[name]
    elif damage == "unknown":
        name = "fusion.extra"
        tensors[name] = torch.zeros(1)
    elif damage == "shape":
        tensors[name] = torch.zeros(3)
    else:
        tensors[name] = torch.full_like(tensors[name], np.nan)
    save_file(tensors, path)
    with pytest.raises(UserError, match=f"model.safetensors: tensor '{name}'"):
        load_checkpoint(folder)


def test_statistics_of_other_sizes_are_refused(folder, robot):
    path = folder / "statistics.json"
    content = json.loads(path.read_text())
    for name in ("state_mean", "state_std"):
        content[robot.embodiment][name].append(0.0)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="8 states and 7 actions, the model's head has 7 and 7"):
        load_checkpoint(folder)
