"""`dexvla eval` and `dexvla eval suite` on the command line."""

import json

import pytest
from typer.testing import CliRunner

from dexvla_model.errors import UserError
from dexvla_ros.cli.main import app

# One second of one episode: it is the report that counts.
SHORT = ("--episodes", "1", "--timeout", "1", "--processes", "1", "--seed", "3")


def dexvla(*arguments):
    return CliRunner().invoke(app, arguments)


def test_one_policy_is_evaluated():
    result = dexvla("eval", "--task", "posture", "--policy", "scripted", *SHORT, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["episodes"], report["policy"], report["milestone_rates"]) == (
        1,
        "scripted",
        {"arrived": 0.0},
    )


def test_a_robot_does_its_own_task_where_none_is_named():
    result = dexvla("eval", "--robot", "inspire", "--policy", "scripted", *SHORT, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["task"] == "posture"


def test_a_suite_is_written_and_printed(tmp_path):
    pairs = ("--on", "ur5e:posture", "--on", "fr3:posture")
    result = dexvla("eval", "suite", "--policy", "scripted", *pairs, *SHORT, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == (tmp_path / "results.md").read_text().strip()
    assert "| scripted | ur5e | posture | 1 (3 to 3) | 0% |" in result.stdout
    report = json.loads((tmp_path / "results.json").read_text())
    assert [entry["robot"] for entry in report["entries"]] == ["ur5e", "fr3"]
    assert (tmp_path / "results.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "juggle"), "no task named 'juggle'"),
        (("--policy", "nobody"), "--policy nobody"),
        (("suite",), "Nothing to evaluate"),
        (("suite", "--config", "shipped", "--policy", "scripted"), "exclude each other"),
        (("suite", "--policy", "nobody", "--on", "ur5e:posture"), "--policy nobody"),
    ],
)
def test_a_mistake_is_found_before_the_first_episode(arguments, words):
    result = dexvla("eval", *arguments)
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)
    assert result.output == ""
