"""`dexvla checkpoint`: what it prints, and its exit codes."""

import json
import sys

import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint
from dexvla_model.resources import checkpoint_folder
from dexvla_ros.cli import main as command_line


@pytest.fixture
def dexvla(monkeypatch, capsys):
    """Runs the command in this process; gives exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dexvla", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def stage1_file(tmp_path):
    """A published stage-1 file, of a very small expert."""
    width, condition, state, action = 8, 12, 7, 7
    shapes = {"pos_embed": (1, 5, width)}
    linears = {
        "x_embedder": (width, action),
        "t_embedder.mlp.0": (width, 16),
        "t_embedder.mlp.2": (width, width),
        "cond_obs_emb": (width, condition),
        "combine.0": (10, condition + state),
        "combine.2": (10, 10),
        "combine.4": (condition, 10),
        "blocks.0.attn.qkv": (3 * width, width),
        "blocks.0.attn.proj": (width, width),
        "blocks.0.mlp.fc1": (4 * width, width),
        "blocks.0.mlp.fc2": (width, 4 * width),
        "blocks.0.adaLN_modulation.1": (6 * width, width),
        "final_layer.linear": (action, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    nets = {f"policy.noise_pred_net.{name}": torch.randn(shape) for name, shape in shapes.items()}
    path = tmp_path / "scale_dp.v1.ckpt"
    torch.save({"nets": {"nets": nets | {"policy.obs_encoder.x": torch.ones(3)}, "ema": None}}, path)
    return path


def test_import_and_info_as_tables(dexvla, stage1_file, tmp_path):
    code, out, err = dexvla(
        "checkpoint",
        "import",
        stage1_file,
        "--out",
        tmp_path / "e",
        "--attention-heads",
        2,
        "--robot",
        "ur5e",
    )
    assert code == 0, err
    for words in (
        "loaded",
        "initialised",
        "left over",
        "stage 1's own encoders",
        "head ur5e_2f85",
        "Checkpoint written",
    ):
        assert words in out
    code, out, _ = dexvla("checkpoint", "info", tmp_path / "e")
    assert code == 0
    for words in ("kind expert", "expert trunk", "7 states, 7 actions, horizon 5", "published stage-1 file"):
        assert words in " ".join(out.split())


def test_import_and_info_as_json(dexvla, stage1_file, tmp_path):
    arguments = (
        "checkpoint",
        "import",
        stage1_file,
        "--out",
        tmp_path / "e",
        "--attention-heads",
        2,
        "--json",
    )
    code, out, _ = dexvla(*arguments)
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "e" / "import.json").read_text())
    code, out, _ = dexvla("checkpoint", "info", tmp_path / "e", "--json")
    assert json.loads(out)["heads"]["imported"]["horizon"] == 5
    code, out, _ = dexvla("checkpoint", "info", stage1_file, "--json")
    assert json.loads(out)["layout"] == "published stage-1 file"


def test_the_default_folder_has_the_name_of_the_source(dexvla, stage1_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dexvla("checkpoint", "import", stage1_file, "--attention-heads", 2)[0] == 0
    assert (tmp_path / "checkpoints" / "scale_dp.v1" / "config.json").is_file()


def test_a_shipped_checkpoint_is_found_by_its_name(dexvla):
    code, out, _ = dexvla("checkpoint", "info", "tabletop_tiny")
    assert code == 0
    assert "4,737,277" in out and "shoulder_pan_joint" in out


def test_one_robot_of_several_is_kept_with_the_same_weights(dexvla, tmp_path):
    whole = checkpoint_folder("tabletop_tiny")
    code, out, _ = dexvla("checkpoint", "import", whole, "--out", tmp_path / "one", "--only-head", "fr3_franka_hand")
    assert code == 0 and "head of another robot" in " ".join(out.split())
    before, kept = load_checkpoint(whole), load_checkpoint(tmp_path / "one")
    assert list(kept.model.config.embodiments) == list(kept.robots) == list(kept.statistics) == ["fr3_franka_hand"]
    weights = before.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in kept.model.state_dict().items())
    dropped = set(weights) - set(kept.model.state_dict())
    assert dropped and all("heads.ur5e_2f85" in name or "heads.piper_dual" in name for name in dropped)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", checkpoint_folder("tabletop_tiny"), "--out", "/nowhere/new", "--only-head", "me"], ["--only-head me", "piper_dual"]),
        (["import", "/nowhere/model"], ["/nowhere/model"]),
        (["import", "/nowhere/model", "--dtype", "int8"], ["'int8'", "float32, bfloat16"]),
        (["import", "/nowhere/model", "--robot", "nope"], ["'nope'", "ur5e"]),
        (["info", "/nowhere/model"], ["/nowhere/model"]),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(dexvla, arguments, words):
    code, out, err = dexvla("checkpoint", *arguments)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
