"""The benchmark of reasoning: that it compares like with like. How fast things are is not a test."""

import pytest
import torch

from dexvla_model.benchmark import reasoning
from dexvla_model.benchmark.machine import MachineRates
from dexvla_model.benchmark.random_backbone import random_reasoner
from dexvla_model.benchmark.reasoning import SUB_STEP_TOKENS, benchmark_reasoning
from dexvla_model.errors import UserError


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.setattr(reasoning, "measure_rates", lambda device, dtype: MachineRates(1e10, 1e11))


def test_rows_for_prefill_decoding_and_totals(rates):
    rows = benchmark_reasoning("tiny", "float32", repeats=1)
    assert [row.name.removeprefix("tiny float32: ") for row in rows] == [
        "prefill",
        "decoding, sub-step unchanged",
        "in total, sub-step unchanged",
        "in total, sub-step with two words changed",
        "in total, sub-step unlike the draft",
    ]
    for row in rows:
        assert row.baseline_ms > 0
        assert row.ours_ms >= 0
        assert row.floor_ms > 0
    # Same weights, same scene, same words: nothing else would be a comparison.
    assert "2 of 2 answers equal" in rows[1].notes
    assert rows[2].notes == "1 passes"
    assert rows[4].notes == f"{SUB_STEP_TOKENS + 1} passes"


@pytest.mark.parametrize("preset", sorted(reasoning.SIZES))
def test_every_size_can_be_counted(preset):
    assert reasoning._parameters(preset) > 1e5


def test_random_weights_are_finite_and_make_different_scenes_differ():
    reasoner = random_reasoner("tiny", torch.float32, "cpu", reasoning.SIZES["tiny"], SUB_STEP_TOKENS)
    assert all(torch.isfinite(weight).all() for weight in reasoner.model.vlm.parameters())
    scenes = reasoning._scenes(reasoner, "cpu").images
    states = [reasoner.decode(images, "go").hidden_states[0, -1] for images in scenes]
    assert not torch.allclose(*states)
    qwen = reasoner.model.vlm.qwen
    assert qwen.lm_head.weight is qwen.model.language_model.embed_tokens.weight


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(reasoning, "free_bytes", lambda: 3e9)
    with pytest.raises(UserError, match="qwen2-vl-2b in bfloat16 needs 10.3 GB, 3.0 GB are free"):
        benchmark_reasoning("qwen2-vl-2b", "bfloat16")
    with pytest.raises(UserError, match="preset is 'huge', allowed are tiny"):
        benchmark_reasoning("huge")
    with pytest.raises(UserError, match="dtype is 'int8'"):
        benchmark_reasoning("tiny", "int8")


def test_two_changed_words_are_two():
    answer = list(range(500, 520))
    changed = reasoning._two_changed(answer)
    assert sum(a != b for a, b in zip(answer, changed, strict=True)) == 2
