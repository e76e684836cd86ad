"""`dexvla bench`: figures as a table and as JSON."""

import json
import math

import pytest
from typer.testing import CliRunner

from dexvla_model.benchmark.model import DEFAULT_SIZES
from dexvla_model.benchmark.table import Row
from dexvla_model.errors import UserError
from dexvla_ros.cli.bench import app

runner = CliRunner()


@pytest.fixture
def measured(monkeypatch):
    """What the model's benchmark was asked for, in place of measuring."""
    asked = []

    def measure(*arguments, **options):
        asked.append(arguments)
        return [
            Row("tiny float32: chunk", 30.0, 10.0, floor_ms=4.0, notes="same"),
            Row("large", math.nan, math.nan),
        ]

    monkeypatch.setattr("dexvla_model.benchmark.model.benchmark_model", measure)
    return asked


def test_the_models_figures_come_as_json(measured):
    result = runner.invoke(app, ["model", "--size", "tiny", "--dtype", "float32", "--threads", "1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["device"] == "cpu"
    assert report["rows"][0] == {
        "name": "tiny float32: chunk",
        "baseline_ms": 30.0,
        "ours_ms": 10.0,
        "ratio": 3.0,
        "floor_ms": 4.0,
        "notes": "same",
    }
    assert report["rows"][1]["ours_ms"] is None
    assert measured == [(["tiny"], ["float32"], "cpu", 1, 5)]


def test_the_models_figures_come_as_a_table(measured):
    result = runner.invoke(app, ["model"])
    assert result.exit_code == 0, result.output
    assert "2.5" in result.stdout  # ours over the floor
    assert measured[0][0] == DEFAULT_SIZES


@pytest.mark.parametrize("option, value", [("--size", "huge"), ("--dtype", "int4"), ("--device", "tpu7")])
def test_what_is_not_there_is_named(option, value):
    result = runner.invoke(app, ["model", "--size", "tiny", option, value])
    assert isinstance(result.exception, UserError)
    assert f"{option} " in str(result.exception) and value in str(result.exception)


def test_the_streams_figures_come_as_a_table_and_as_json():
    table = runner.invoke(app, ["stream", "--duration", "6"])
    assert "plan_and_message_ms_mean" in table.stdout
    figures = json.loads(runner.invoke(app, ["stream", "--duration", "6", "--json"]).stdout)
    assert figures["smooth"]["plans"] > 5
