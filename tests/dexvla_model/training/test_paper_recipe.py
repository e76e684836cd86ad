"""The published recipe: its sizes without memory, and real steps of a shrunken copy."""

from pathlib import Path

import pytest
import torch
import yaml

from dexvla_model.checkpoint.empty_modules import parameters_on_meta
from dexvla_model.conditioning import Stage1Config, Stage1Model
from dexvla_model.conditioning.config import image_encoder_preset, sentence_encoder_preset
from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.expert import expert_preset
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_model.training.new_robot import embodiment_of
from dexvla_model.training.optimizers import build_optimizers
from dexvla_model.training.parts import set_trained, trained_sizes
from dexvla_model.vlm import backbone_preset

PAPER = Path(find_resource("config/training/paper/stage1.yaml")).parent
ROBOT = load_robot(PAPER / "agilex_dual.yaml")
# ScaleDP-H with one 14-D head; Qwen2-VL-2B; its vision tower.
EXPERT, BACKBONE, VISION = 955_861_518, 2_208_985_600, 665_271_296


@pytest.fixture(scope="module")
def embodiments():
    return {ROBOT.embodiment: embodiment_of(ROBOT, 50)}


@pytest.fixture(scope="module")
def vla(embodiments):
    with parameters_on_meta():
        return DexVLA(DexVLAConfig(backbone_preset("qwen2-vl-2b"), expert_preset("scaledp-h"), embodiments))


def learning(model, name):
    """What of the model learns by the training file of that name, by part, and its optimizers."""
    config = load_training_config(PAPER / name)
    for weight in model.parameters():
        weight.requires_grad_(True)
    set_trained(model, config.train, config.optimization.lora)
    return trained_sizes(model), build_optimizers(model, config.optimization)


def test_stage_1_has_the_published_expert(embodiments):
    config = Stage1Config(
        image_encoder_preset("resnet-50"),
        sentence_encoder_preset("distilbert-base"),
        expert_preset("scaledp-h"),
        embodiments,
    )
    with parameters_on_meta():
        sizes, (adamw,) = learning(Stage1Model(config), "stage1.yaml")
    assert sizes["expert"] == (EXPERT, EXPERT)
    assert adamw.defaults["betas"] == (0.9, 0.98) and adamw.defaults["eps"] == 1e-7
    assert {group["peak_lr"] for group in adamw.param_groups} == {1e-4}


def test_stage_2_trains_all_but_the_vision_tower(vla):
    sizes, (adamw,) = learning(vla, "stage2.yaml")
    assert sizes["vision"] == (0, VISION)
    assert sizes["language_model"] == (BACKBONE - VISION, BACKBONE - VISION)
    assert sizes["expert"] == (EXPERT, EXPERT)
    in_groups = sum(weight.numel() for group in adamw.param_groups for weight in group["params"])
    assert in_groups == BACKBONE - VISION + EXPERT + sizes["fusion"][1]
    assert {(group["peak_lr"], group["weight_decay"]) for group in adamw.param_groups} == {(2e-5, 0.0)}


def test_stage_3_trains_everything(vla):
    sizes, _ = learning(vla, "stage3.yaml")
    assert all(learn == total for learn, total in sizes.values())


def test_the_robot_of_the_recipe_differs_in_the_size_of_its_pictures_alone():
    ours, theirs = yaml.safe_load(ROBOT.text), yaml.safe_load(load_robot("agilex_dual").text)
    for camera in ours["cameras"] + theirs["cameras"]:
        camera.pop("model_size")
    assert ours == theirs
    assert {(camera.model_width, camera.model_height) for camera in ROBOT.cameras} == {(308, 252)}
    assert len(ROBOT.action) == 14


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_shrunken_copy_makes_its_steps(stage, stage1, stage2, stage_trainer, tmp_path):
    values = yaml.safe_load((PAPER / f"stage{stage}.yaml").read_text())
    small = {"steps": 2, "batch_size": 8, "workers": 1, "mixed_precision": "no"}
    before = {2: stage1, 3: stage2}
    start = {"initial_checkpoint": str(before[stage] / "checkpoint")} if stage in before else {}
    trainer = stage_trainer(
        stage,
        tmp_path / "run",
        augmentation=values["augmentation"],
        train=values.get("train", {}),
        optimization=values["optimization"] | small,
        **start,
    )
    summary = trainer.run()
    assert summary["steps"] == 2 and torch.isfinite(torch.tensor(summary["loss"]))
