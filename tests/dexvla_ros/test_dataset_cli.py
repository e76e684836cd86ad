"""`dexvla dataset`: each command does its work, and answers a mistake with one sentence."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_ros.cli import main
from dexvla_ros.cli.dataset import app


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    robot = load_robot("ur5e")
    folder = tmp_path_factory.mktemp("data") / "[pick]"
    writer = DatasetWriter.open(folder, DatasetSpecification.of_robot(robot, 10))
    for number in range(4):
        with writer.begin_episode("pick the cube", f"bag_{number}") as episode:
            for frame in range(5):
                images = {
                    c.role: np.full((c.model_height, c.model_width, 3), 40 * number, np.uint8)
                    for c in robot.cameras
                }
                episode.add_frame(frame * 100_000_000, np.full(7, frame / 10), np.zeros(7), images)
            episode.end([SubStepMark(0.0, "reach")], success=number != 2)
    writer.finish()
    return folder


def run(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_info_says_what_there_is(dataset):
    summary = json.loads(run("info", dataset, "--json").splitlines()[-1])
    assert (summary["episodes"], summary["frames"], summary["failures"]) == (4, 20, 1)
    assert summary["instructions"] == {"pick the cube": 4}
    assert "4 episodes, 20 frames" in run("info", dataset)


def test_validate_passes_a_sound_dataset(dataset):
    assert "is sound" in run("validate", dataset, "--full")


def test_validate_names_what_is_broken_with_exit_code_2(tmp_path, dataset, monkeypatch, capsys):
    run("merge", dataset, "--out", tmp_path / "copy")
    next((tmp_path / "copy/videos").rglob("*.mp4")).unlink()
    monkeypatch.setattr(sys, "argv", ["dexvla", "dataset", "validate", str(tmp_path / "copy")])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    assert "the video is missing" in capsys.readouterr().out


def test_stats_are_shown_and_measured_anew(dataset):
    shown = json.loads(run("stats", dataset, "--json").splitlines()[-1])
    assert shown["observation.state"]["max"] == pytest.approx([0.4] * 7)
    assert "shoulder" in run("stats", dataset, "--recompute")


def test_merge_split_and_view(dataset, tmp_path):
    assert "8 episodes, 40 frames" in run("merge", dataset, dataset, "--out", tmp_path / "twice").replace(
        "\n", ""
    )
    run("split", dataset, "--out", tmp_path / "parts", "--fractions", "train=0.75,val=0.25")
    assert len(DatasetReader(tmp_path / "parts/train").episodes) == 3
    run("split", dataset, "--out", tmp_path / "chosen", "--episodes", "bad=2,good=0-1+3")
    assert len(DatasetReader(tmp_path / "chosen/good").episodes) == 3
    run("split", dataset, "--out", tmp_path / "judged", "--by-success")
    assert len(DatasetReader(tmp_path / "judged/failure").episodes) == 1
    run("view", dataset, "--episode", 1, "--out", tmp_path / "page.html")
    assert "pick the cube" in (tmp_path / "page.html").read_text()


def test_sub_steps_are_exported_edited_and_written(dataset, tmp_path):
    run("merge", dataset, "--out", tmp_path / "copy")
    run("annotate", tmp_path / "copy", "--export", tmp_path / "table.csv")
    table = (tmp_path / "table.csv").read_text()
    assert table.splitlines()[1] == "0,0.0000,0.5000,reach"
    (tmp_path / "table.csv").write_text(
        table.replace("0,0.0000,0.5000,reach", "0,0,0.2,reach\n0,0.2,0.5,grasp", 1)
    )
    run("annotate", tmp_path / "copy", "--table", tmp_path / "table.csv")
    assert [mark.text for mark in DatasetReader(tmp_path / "copy").sub_steps()[0]] == ["reach", "grasp"]


def test_a_lerobot_dataset_is_imported_at_another_rate(dataset, tmp_path):
    run("from-lerobot", dataset, "--out", tmp_path / "slow", "--fps", 5, "--processes", 1)
    assert [episode.length for episode in DatasetReader(tmp_path / "slow").episodes] == [3] * 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["info", "/nowhere"], "/nowhere is no LeRobot dataset"),
        (["view", "DATASET", "--episode", "9"], "there is no episode 9, the last one is 3"),
        (["annotate", "DATASET"], "Give either --table CSV"),
        (["split", "DATASET", "--out", "/nowhere/x"], "Give one of --fractions"),
        (["split", "DATASET", "--out", "/nowhere/x", "--fractions", "train"], "expected NAME=VALUE"),
        (["split", "DATASET", "--out", "/nowhere/x", "--episodes", "train=a"], "no list of episodes"),
        (
            ["from-lerobot", "DATASET", "--out", "/nowhere/x", "--image-size", "huge"],
            "allowed are camera, model",
        ),
        (["from-hdf5", "/nowhere", "--out", "/nowhere/x", "--fps", "10"], "/nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(dataset, arguments, expected):
    given = [str(dataset) if argument == "DATASET" else argument for argument in arguments]
    with pytest.raises(UserError, match=expected) as error:
        CliRunner().invoke(app, given, catch_exceptions=False)
    assert "\n" not in str(error.value)
