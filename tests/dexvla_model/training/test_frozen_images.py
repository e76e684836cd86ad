"""Image tokens that are made once: the same numbers, never those of other weights or data."""

import json

import numpy as np
import pytest
import torch


@pytest.fixture
def start(stage1):
    return {"initial_checkpoint": str(stage1 / "checkpoint")}


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [[line[name] for name in ("loss", "action_loss", "language_loss")] for line in lines]


def test_a_run_with_tokens_made_beforehand_has_the_same_losses(stage_trainer, start, tmp_path):
    for name, beforehand in (("with", True), ("without", False)):
        trainer = stage_trainer(2, tmp_path / name, optimization={"precompute_images": beforehand}, **start)
        if beforehand:
            trainer._plain_model.vlm.encode_images = None  # nobody asks the tower any more
        trainer.run()
    np.testing.assert_allclose(losses(tmp_path / "with"), losses(tmp_path / "without"), rtol=1e-5)


def test_tokens_of_other_weights_are_made_again(stage_trainer, start, tmp_path):
    def key():
        return json.loads((tmp_path / "run" / "image_tokens" / "ur5e_2f85.json").read_text())["key"]

    made = tmp_path / "run" / "image_tokens" / "ur5e_2f85.bin"
    del_later = stage_trainer(2, tmp_path / "run", **start)
    first, written = key(), made.stat().st_mtime_ns
    del del_later
    again = stage_trainer(2, tmp_path / "run", **start)
    assert (key(), made.stat().st_mtime_ns) == (first, written)
    del again
    stage_trainer(2, tmp_path / "run", optimization={"seed": 1}, **start)
    assert key() != first and made.stat().st_mtime_ns > written


def test_a_tower_that_learns_or_images_that_change_are_not_made_beforehand(stage_trainer, start, tmp_path):
    stage_trainer(2, tmp_path / "learns", train={"vision": True}, **start)
    stage_trainer(2, tmp_path / "changes", augmentation="published", **start)
    assert not list(tmp_path.glob("*/image_tokens"))


# What is compiled adds up in another order.
FUSED = {"rtol": 1e-4, "atol": 1e-6}


@pytest.mark.parametrize(
    ("option", "tolerance"),
    [("gradient_checkpointing", {}), pytest.param("compile_blocks", FUSED, marks=pytest.mark.slow)],
)
def test_blocks_that_run_otherwise_give_the_same_gradients(option, tolerance, stage_trainer, start, tmp_path):
    gradients = []
    for otherwise in (False, True):
        options = {option: otherwise}
        trainer = stage_trainer(2, tmp_path / str(otherwise), optimization=options, **start)
        batch = next(trainer._batches())
        losses = trainer._losses(trainer._shards[0], batch[0])
        losses["loss"].backward()
        weights = trainer._plain_model.named_parameters()
        gradients.append({name: weight.grad for name, weight in weights if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, **tolerance, msg=name)
