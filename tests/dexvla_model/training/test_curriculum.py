"""The three stages: each starts from the one before it, and trains what it is meant to."""

import json

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint, load_policy
from dexvla_model.errors import UserError
from dexvla_model.observation import Observation, RobotState
from dexvla_model.robot import load_robot
from dexvla_model.vlm import backbone_preset, special_token_ids
from dexvla_model.vlm.families import FAMILIES


def same(ours, theirs) -> bool:
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_stage_2_begins_with_the_expert_of_stage_1(stage1, stage_trainer, tmp_path):
    trainer = stage_trainer(2, tmp_path / "run", initial_checkpoint=str(stage1 / "checkpoint"))
    before = load_checkpoint(stage1 / "checkpoint")
    assert same(trainer._plain_model.expert.state_dict(), before.model.expert.state_dict())
    for name, statistics in before.statistics.items():
        assert torch.equal(trainer._checkpoints.initial.statistics[name].state_mean, statistics.state_mean)
    report = (tmp_path / "run" / "carried_over.txt").read_text()
    assert "tensors carried over" in report and "vision 0 of" in report
    assert "tensors carried over" in trainer._console.file.getvalue()


def test_stage_2_leaves_the_vision_tower_and_moves_the_rest(stage1, stage_trainer, tmp_path):
    trainer = stage_trainer(2, tmp_path / "run", initial_checkpoint=str(stage1 / "checkpoint"))
    before = {name: weight.clone() for name, weight in trainer._plain_model.state_dict().items()}
    trainer.run()
    after = load_checkpoint(tmp_path / "run" / "checkpoint").model.state_dict()
    tower = [name for name in before if ".visual." in name or "patch_positions" in name]
    assert tower and same({name: after[name] for name in tower}, before)
    for part in ("vlm.qwen.model.language_model.layers.0", "fusion", "expert.blocks"):
        names = [name for name in before if name.startswith(part)]
        assert not same({name: after[name] for name in names}, before), part


def test_stage_3_goes_on_with_one_task_and_drives(stage2, stage_trainer, two_robots, tmp_path):
    trainer = stage_trainer(
        3, tmp_path / "run", robots=two_robots[1:], initial_checkpoint=str(stage2 / "checkpoint")
    )
    before = load_checkpoint(stage2 / "checkpoint")
    assert same(trainer._plain_model.state_dict(), before.model.state_dict())
    summary = trainer.run()
    checkpoint = load_checkpoint(summary["checkpoint"])
    assert checkpoint.provenance["stage"] == 3
    # The other robot's head is still there.
    assert set(checkpoint.robots) == {"ur5e_2f85", load_robot("fr3").embodiment}
    robot = load_robot("fr3")
    policy = load_policy(summary["checkpoint"], robot)
    policy.reset(0)
    images = {c.role: np.full((c.model_height, c.model_width, 3), 220, np.uint8) for c in robot.cameras}
    state = RobotState(1.0, robot.home_positions)
    substep = policy.reason(Observation(1.0, images, state), "move")
    assert np.isfinite(policy.act(substep, state).positions).all()


def test_stage_1_goes_on_with_a_robot_that_it_did_not_know(stage1, stage_trainer, two_robots, tmp_path):
    one = stage_trainer(1, tmp_path / "one", robots=two_robots[:1])
    summary = one.run()
    both = stage_trainer(1, tmp_path / "both", initial_checkpoint=summary["checkpoint"])
    assert "it gets a new head and its statistics" in both._console.file.getvalue()
    robots = load_checkpoint(both.run()["checkpoint"]).robots
    assert set(robots) == {"ur5e_2f85", load_robot("fr3").embodiment}


def test_a_backbone_comes_from_another_checkpoint(stage1, stage2, stage_trainer, tmp_path):
    model = {"vlm_checkpoint": str(stage2 / "checkpoint"), "horizon": 4}
    trainer = stage_trainer(2, tmp_path / "run", initial_checkpoint=str(stage1 / "checkpoint"), sizes=model)
    before = load_checkpoint(stage2 / "checkpoint")
    assert same(trainer._plain_model.vlm.state_dict(), before.model.vlm.state_dict())
    expert = load_checkpoint(stage1 / "checkpoint").model.expert
    assert same(trainer._plain_model.expert.state_dict(), expert.state_dict())


def test_a_backbone_comes_from_a_published_folder(stage1, stage2, stage_trainer, tmp_path):
    tokenizer = load_checkpoint(stage2 / "checkpoint").tokenizer
    config = backbone_preset("nano", special_token_ids(tokenizer))
    torch.manual_seed(3)
    qwen = FAMILIES[config.family].model(config.to_transformers())
    qwen.save_pretrained(tmp_path / "qwen")
    tokenizer.save_pretrained(tmp_path / "qwen")
    model = {"vlm_checkpoint": str(tmp_path / "qwen"), "horizon": 4}
    trainer = stage_trainer(2, tmp_path / "run", initial_checkpoint=str(stage1 / "checkpoint"), sizes=model)
    assert same(trainer._plain_model.vlm.qwen.state_dict(), qwen.state_dict())
    assert np.isfinite(trainer.run()["loss"])


@pytest.mark.parametrize(
    ("stage", "from_stage", "expected"),
    [
        (1, 2, "is of stage 2, but stage 1 starts from 1"),
        (3, 1, "is of stage 1, but stage 3 starts from 2 or 3 or joint"),
        (3, None, "initial_checkpoint is none, but stage 3 goes on from"),
    ],
)
def test_a_stage_refuses_what_it_cannot_start_from(
    stage, from_stage, expected, stage1, stage2, stage_trainer, tmp_path
):
    start = "none" if from_stage is None else str({1: stage1, 2: stage2}[from_stage] / "checkpoint")
    with pytest.raises(UserError, match=expected):
        stage_trainer(stage, tmp_path / "run", initial_checkpoint=start)


def test_stage_2_without_an_expert_or_a_backbone_is_refused(stage1, stage_trainer, tmp_path):
    with pytest.raises(UserError, match="model.expert is missing"):
        stage_trainer(2, tmp_path / "a")
    with pytest.raises(UserError, match="name a preset as model.vlm"):
        stage_trainer(2, tmp_path / "b", initial_checkpoint=str(stage1 / "checkpoint"), sizes={"horizon": 4})
    with pytest.raises(UserError, match="without a vision-language model"):
        model = {"vlm_checkpoint": str(stage1 / "checkpoint"), "horizon": 4, "expert": "scaledp-nano"}
        stage_trainer(2, tmp_path / "c", sizes=model)


def test_a_dataset_of_another_robot_is_refused(stage_trainer, two_robots, tmp_path):
    swapped = [{"robot": "ur5e", "datasets": two_robots[1]["datasets"]}]
    with pytest.raises(UserError):
        stage_trainer(1, tmp_path / "run", robots=swapped)


def test_what_learns_is_as_the_file_says(stage2, stage_trainer, tmp_path):
    train = {"language_model": False, "expert": False}
    trainer = stage_trainer(3, tmp_path / "run", initial_checkpoint=str(stage2 / "checkpoint"), train=train)
    learning = {name.split(".")[0] for name, w in trainer._plain_model.named_parameters() if w.requires_grad}
    assert learning == {"fusion"}
    train = {"expert": "lora"}
    with pytest.raises(UserError, match="train.expert is 'lora', but allowed are true, false"):
        stage_trainer(3, tmp_path / "lora", initial_checkpoint=str(stage2 / "checkpoint"), train=train)


def test_a_part_may_have_a_learning_rate_of_its_own(stage_trainer, tmp_path):
    rates = {"learning_rate": 1e-3, "muon_learning_rate": 0.02, "learning_rates": {"image_encoder": 5e-4}}
    trainer = stage_trainer(1, tmp_path / "run", optimization=rates)
    encoder = {id(weight) for weight in trainer._plain_model.conditioner.image_encoder.parameters()}
    for optimizer in trainer._optimizers:
        for group in optimizer.param_groups:
            inside = {id(weight) in encoder for weight in group["params"]}
            assert len(inside) == 1
            assert group["peak_lr"] in ((5e-4, 0.01) if inside == {True} else (1e-3, 0.02))


def test_the_log_says_what_happened(stage2):
    lines = [json.loads(line) for line in (stage2 / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"loss", "action_loss", "language_loss", "learning_rate", "samples_per_s"} <= set(lines[0])
    assert list((stage2 / "tensorboard").glob("events.out.tfevents.*"))


def test_stage_2_may_do_without_stage_1(stage_trainer, tmp_path):
    sizes = {"vlm": "nano", "vocabulary_size": 512, "horizon": 4, "expert": "scaledp-nano"}
    trainer = stage_trainer(2, tmp_path / "run", sizes=sizes)
    assert "The expert starts from random weights." in trainer._console.file.getvalue()


def test_a_mixture_of_nothing_is_refused(stage_trainer, two_robots, tmp_path):
    with pytest.raises(UserError, match=r"robots\[0\].datasets is \[\] .*a non-empty list is needed"):
        stage_trainer(1, tmp_path / "run", robots=[two_robots[0] | {"datasets": []}])
