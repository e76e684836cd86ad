"""The expert's benchmark: an honest baseline, and floors that are below what was measured."""

import json
import math

import pytest
import torch

from dexvla_model.benchmark.expert import (
    EMBODIMENT,
    SIZES,
    benchmark_expert,
    inference_copy,
    measure_work,
    random_expert,
    straightforward_chunk,
)
from dexvla_model.benchmark.machine import MachineRates
from dexvla_model.benchmark.table import Row
from dexvla_model.benchmark.timing import alternating_medians_s
from dexvla_model.errors import UserError
from dexvla_model.expert import Sampler


def test_baseline_and_engine_give_the_same_chunk():
    expert = random_expert("tiny", torch.float32)
    condition, state, noise = torch.randn(1, 160), torch.randn(1, 7), torch.randn(1, 16, 7)
    with torch.no_grad():
        loop = straightforward_chunk(expert, condition, state, noise, EMBODIMENT, 10)
    ours = Sampler(inference_copy(expert)).sample(condition, state, EMBODIMENT, noise=noise)
    assert loop.std() > 0.1
    torch.testing.assert_close(ours, loop, rtol=1e-5, atol=1e-5)


def test_the_work_of_a_chunk_is_that_of_its_matrix_products():
    work = measure_work("tiny", torch.float32)
    width, rows, depth = 160, 16, 4
    # Per block 12 W^2 weights over the rows, and two products of the attention; then the head's two.
    expected = depth * (2 * rows * 12 * width**2 + 4 * rows**2 * width) + 2 * 2 * rows * 7 * width
    assert work.step_operations == expected
    # The modulations, a third of a block's weights, are not read in a step.
    assert depth * 12 * width**2 * 4 < work.step_bytes < depth * 12.5 * width**2 * 4
    assert work.once_bytes > depth * 6 * width**2 * 4


def test_half_the_bytes_have_half_the_traffic():
    exact, rounded = (measure_work("scaledp-l", dtype) for dtype in (torch.float32, torch.bfloat16))
    assert rounded.step_bytes * 2 == exact.step_bytes
    assert rounded.step_operations == exact.step_operations


def test_the_published_size_is_measured():
    work = measure_work("scaledp-h", torch.float32)
    assert (work.step_bytes + work.once_bytes) == 4 * 955_861_518
    assert SIZES["scaledp-h"][1].horizon == 50


def test_the_floor_is_the_slower_of_reading_and_multiplying():
    rates = MachineRates(read_bytes_s=10.0, matrix_flop_s=100.0)
    assert rates.floor_s(weight_bytes=50.0, operations=100.0) == 5.0
    assert rates.floor_s(weight_bytes=5.0, operations=100.0) == 1.0


def test_rows_are_json_and_say_what_is_faster():
    rows = benchmark_expert("tiny", repeats=2)
    values = json.loads(json.dumps([row.to_json() for row in rows]))
    assert values[0]["name"] == "tiny float32: chunk"
    assert values[0]["ratio"] == pytest.approx(values[0]["baseline_ms"] / values[0]["ours_ms"])
    assert 0.0 < values[0]["floor_ms"] < values[0]["ours_ms"]
    assert values[-1]["floor_ms"] is None
    assert "times a free chunk" in values[-1]["notes"]


def test_a_ratio_that_was_measured_otherwise_is_kept():
    assert Row("decoding", 10.0, 5.0, ratio=4.0).ratio == 4.0
    assert math.isnan(Row("decoding", math.nan, 5.0).ratio)


def test_alternatives_run_equally_often_in_turn():
    order = []
    medians_s, results = alternating_medians_s(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b") or 7}, repeats=4
    )
    assert order.count("a") == order.count("b") == 5
    assert order[2:] == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert set(medians_s) == {"a", "b"} and results["b"] == 7


@pytest.mark.parametrize("wrong", [{"size": "huge"}, {"size": "tiny", "dtype": "int8"}])
def test_an_unknown_size_or_type_is_named(wrong):
    with pytest.raises(UserError, match="allowed are"):
        benchmark_expert(**wrong)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("dexvla_model.benchmark.expert.free_bytes", lambda: 2e9)
    with pytest.raises(UserError, match="GB are free"):
        benchmark_expert("scaledp-h")
