"""Which benchmarks run for which size, and what becomes of those that do not fit."""

import pytest

from dexvla_model.benchmark import expert, model, reasoning
from dexvla_model.benchmark.model import benchmark_model
from dexvla_model.benchmark.table import Row
from dexvla_model.errors import UserError


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    """The two parts, which say what they were asked for; the largest does not fit."""

    def part(name):
        def measure(size, dtype, *arguments, **options):
            if size == "scaledp-h":
                raise UserError(f"{size} in {dtype} needs 9 GB, 1 GB are free: choose a smaller one.")
            return [Row(f"{size} {dtype}: {name}", 2.0, 1.0)]

        return measure

    monkeypatch.setattr(expert, "benchmark_expert", part("chunk"))
    monkeypatch.setattr(reasoning, "benchmark_reasoning", part("sub-step"))
    monkeypatch.setattr(model.torch, "set_num_threads", lambda threads: None)


def names(rows):
    return [row.name for row in rows]


def test_experts_give_chunks_and_backbones_sub_steps():
    assert names(benchmark_model(["tiny", "scaledp-l", "qwen2-vl-2b"], ["float32"])) == [
        "tiny float32: chunk",
        "tiny float32: sub-step",
        "scaledp-l float32: chunk",
        "qwen2-vl-2b float32: sub-step",
    ]


def test_what_does_not_fit_is_a_row_that_says_so():
    rows = benchmark_model(["scaledp-h", "scaledp-l"], ["float32", "bfloat16"])
    assert names(rows) == [
        "scaledp-h float32",
        "scaledp-h bfloat16",
        "scaledp-l float32: chunk",
        "scaledp-l bfloat16: chunk",
    ]
    assert "needs 9 GB" in rows[0].notes
    assert rows[0].to_json()["ours_ms"] is None


def test_nothing_that_fits_is_an_error():
    with pytest.raises(UserError, match="needs 9 GB"):
        benchmark_model(["scaledp-h"], ["float32"])


@pytest.mark.parametrize(
    "arguments, named",
    [
        ((["huge"],), "--size"),
        ((["tiny"], ["int4"]), "--dtype"),
        ((["tiny"], ["float32"], "tpu7"), "--device"),
    ],
)
def test_what_is_not_there_is_named(arguments, named):
    with pytest.raises(UserError, match=named):
        benchmark_model(*arguments)
