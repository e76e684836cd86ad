"""Adapters, accumulation and held-out episodes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint
from dexvla_model.errors import UserError
from dexvla_model.training.held_out import held_out_frames
from dexvla_model.training.validation_config import ValidationConfig


def test_adapters_learn_and_are_merged_into_the_checkpoint(stage1, stage_trainer, tmp_path):
    trainer = stage_trainer(
        2,
        tmp_path / "run",
        initial_checkpoint=str(stage1 / "checkpoint"),
        train={"language_model": "lora"},
        optimization={"lora": {"rank": 4, "alpha": 8.0}, "ema_decay": 0.0, "steps": 3},
    )
    model = trainer._plain_model
    language = {n: w for n, w in model.vlm.named_parameters() if w.requires_grad}
    assert language and all("lora_" in name for name in language)
    before = model.vlm.qwen.model.language_model.layers[0].self_attn.q_proj.base_layer.weight.clone()
    batch = next(trainer._batches())
    summary = trainer.run()
    kept = load_checkpoint(summary["checkpoint"]).model
    assert not any("lora" in name for name in kept.state_dict())
    assert not torch.equal(kept.vlm.qwen.model.language_model.layers[0].self_attn.q_proj.weight, before)
    # The merged model says what the one with adapters says.
    part, prompt = batch[0][0], trainer._state.learner.prompts[batch[0][0].embodiment]
    with torch.no_grad():
        said = model.eval().read(part, prompt)
        torch.testing.assert_close(kept.read(part, prompt), said, rtol=1e-4, atol=1e-4)
    del trainer, model
    resumed = stage_trainer(
        2,
        tmp_path / "run",
        initial_checkpoint=str(stage1 / "checkpoint"),
        train={"language_model": "lora"},
        optimization={"lora": {"rank": 4, "alpha": 8.0}, "ema_decay": 0.0, "steps": 4},
    )
    assert resumed.step == 3


def test_the_parts_of_an_accumulated_batch_are_the_whole_batch(stage_trainer, tmp_path):
    whole = stage_trainer(1, tmp_path / "whole")
    parts = stage_trainer(1, tmp_path / "parts", optimization={"accumulation": 2})
    (together,), apart = next(whole._batches()), next(parts._batches())
    assert len(apart) == 2

    def states(batches):
        rows = [row.numpy().tobytes() for batch in batches for part in batch for row in part.state.flatten(1)]
        return sorted(rows)

    assert states(apart) == states([together])
    assert np.isfinite(parts.run()["loss"])
    with pytest.raises(UserError, match="accumulation is 3, but it has to divide batch_size 8"):
        stage_trainer(1, tmp_path / "odd", optimization={"accumulation": 3})


def test_the_best_model_by_held_out_episodes_is_kept(stage_trainer, tmp_path):
    validation = {"share": 0.34, "every_steps": 2, "batches": 2}
    trainer = stage_trainer(1, tmp_path / "run", validation=validation, optimization={"steps": 6})
    held = trainer._validation._batches

    def states(batches, steps):
        parts = [part for step in range(steps) for part in batches.batch(step)]
        return {bytes(row.numpy()) for part in parts for row in part.state}

    trained, kept_out = states(trainer._mixtures[0], 20), states(held, 5)
    # A later state of the same episode belongs to it, so no state is in both.
    assert kept_out and not trained & kept_out
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
    assert list(measured) == [2, 4, 6]
    best = load_checkpoint(tmp_path / "run" / "best")
    assert best.provenance["validation_loss"] == min(measured.values())
    assert measured[best.provenance["steps"]] == min(measured.values())


def test_a_single_episode_cannot_be_held_out(stage_trainer, tmp_path, monkeypatch):
    trainer = stage_trainer(1, tmp_path / "run")
    source = trainer._robots[0].sources[0]
    monkeypatch.setattr(source, "last_frame", np.full(len(source), len(source) - 1))
    config = replace(trainer.config, validation=ValidationConfig(0.2, 1, 1))
    with pytest.raises(UserError, match="has one in each dataset only"):
        held_out_frames(config, trainer._robots)
