"""Experiments: the commands that a file stands for, what is skipped, and that the shipped files are sound."""

import signal
import subprocess
import sys

import pytest
import typer
import yaml
from typer.testing import CliRunner

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_checkpoints, list_resources
from dexvla_model.robot import load_robot
from dexvla_model.training.config import load_training_config
from dexvla_ros.cli.main import app
from dexvla_ros.experiments import load_experiment, run_experiment
from dexvla_ros.experiments.run import command_line
from dexvla_sim.suite import load_suite
from dexvla_sim.tasks import load_task

FILE = """
title: Does it pay?
steps:
  - demonstrate:
      {out: "{data}/cubes", robot: ur5e, task: pick_place, episodes: 100, seed: 100000, disturb: false}
  - train:
      config: config/training/pick_place_tiny.yaml
      set: {output: "{out}/run", datasets: ["{data}/cubes"], optimization.steps: 1000}
  - evaluate:
      episodes: 50
      timeout_s: 20
      entries:
        - {label: trained, policy: "{out}/run/checkpoint", robot: ur5e, task: pick_place}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pays.yaml"
    path.write_text(FILE)
    return str(path)


class Runner:
    """Takes the commands down; the one that begins with `failing` ends with status 3."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.ran = []

    def __call__(self, arguments) -> int:
        self.ran.append(arguments[0])
        return 3 if arguments[0] == self.failing else 0


def test_the_steps_are_commands(file):
    demonstrate, train, evaluate = load_experiment(file).steps
    assert command_line(demonstrate) == (
        "dexvla demonstrate --out data/cubes --robot ur5e --task pick_place "
        "--episodes 100 --seed 100000 --no-disturb"
    )
    assert train.arguments[:2] == ("train", "--config")
    assert train.arguments[3:] == (
        "--set", "output=outputs/experiments/pays/run",
        "--set", 'datasets=["data/cubes"]',
        "--set", "optimization.steps=1000",
    )  # fmt: skip
    assert evaluate.arguments[:4] == ("eval", "suite", "--config", "outputs/experiments/pays/results.yaml")
    assert (
        yaml.safe_load(evaluate.file[1])["entries"][0]["policy"] == "outputs/experiments/pays/run/checkpoint"
    )


def test_a_trial_is_small_and_keeps_to_its_own_folder(file):
    demonstrate, train, evaluate = load_experiment(file, scale=0.015).steps
    assert "--episodes 2 " in command_line(demonstrate)
    assert "outputs/experiments/pays_scale_0.015/data/cubes" in demonstrate.arguments
    assert "optimization.steps=15" in train.arguments
    assert yaml.safe_load(evaluate.file[1])["episodes"] == 2


def test_what_is_done_is_skipped_until_something_before_it_changes(file, tmp_path):
    def run(failing="", scale=1.0):
        runner = Runner(failing)
        run_experiment(load_experiment(file, scale, tmp_path / "out"), runner)
        return runner.ran

    with pytest.raises(
        UserError, match=r"Step 2 of 3 ended with status 3 \(dexvla train .*same command again"
    ):
        run(failing="train")
    assert run() == ["train", "eval"]
    assert run() == []
    assert load_suite(tmp_path / "out" / "results.yaml").title == "Does it pay?"
    with open(file, "w") as stream:
        stream.write(FILE.replace("steps: 1000", "steps: 1001"))
    assert run() == ["train", "eval"]
    assert run(scale=0.5) == ["demonstrate", "train", "eval"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  - evaluate:", "  - walk:", "steps.2..*exactly one of the keys demonstrate, train, evaluate"),
        ("output: \"{out}/run\", ", "", "set of an experiment lacks output"),
        ("episodes: 100,", "episodes: many,", r"steps\[0\].demonstrate.episodes is 'many'"),
        ("pick_place_tiny.yaml", "nowhere.yaml", "config/training/nowhere.yaml was not found"),
        ("title: Does it pay?", "name: x", "title is missing"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(file, old, new, words):
    with open(file, "w") as stream:
        stream.write(FILE.replace(old, new))
    with pytest.raises(UserError, match=words):
        load_experiment(file)


def test_an_unknown_experiment_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="'nothing'.*shipped, size, stage1, sub_steps"):
        load_experiment("nothing")


def test_a_dry_run_prints_the_commands_and_writes_nothing(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["reproduce", file, "--dry-run", "--scale", "0.5"])
    assert result.exit_code == 0, result.output
    assert "dexvla demonstrate --out outputs/experiments/pays_scale_0.5/data/cubes" in result.output
    assert "dexvla eval suite --config" in result.output
    assert not (tmp_path / "outputs").exists()


def test_a_step_runs_as_a_command_of_its_own(file, tmp_path):
    # The demonstrations' robot is unknown, so the first command ends with the user's mistake.
    with open(file, "w") as stream:
        stream.write(
            FILE.replace(
                "robot: ur5e, task: pick_place, episodes", "robot: nobody, task: pick_place, episodes"
            )
        )
    command = [sys.executable, "-m", "dexvla_ros.cli.main", "reproduce", file, "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "[1/3] running: dexvla demonstrate" in result.stderr
    assert "nobody" in result.stderr and "Step 1 of 3 ended with status 2" in result.stderr


def test_an_interruption_reaches_the_step_and_waits_for_it(tmp_path):
    # Stands for a step that takes long, and says when it is interrupted.
    program = (
        "import subprocess, sys, signal, os\n"
        "import dexvla_ros.experiments.run as run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "step = 'import time, sys\\nprint(1, flush=True)\\ntry: time.sleep(100)\\n'\n"
        "step += 'except KeyboardInterrupt: time.sleep(0.3); print(2, flush=True)'\n"
        "start = subprocess.Popen\n"
        "run.subprocess.Popen = lambda command, **options: start([sys.executable, '-c', step], **options)\n"
        "try: run.run_command(['train'])\n"
        "except KeyboardInterrupt: print(3, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "2\n3\n"


@pytest.mark.parametrize("name", list_resources("config/experiments", ".yaml"))
def test_the_shipped_experiments_name_what_is_there(name, tmp_path):
    """Commands, training files and suites are valid; what a step reads was written before."""
    experiment = load_experiment(name, scale=0.01)
    written = set()
    command = typer.main.get_command(app)
    for step in experiment.steps:
        # Raises for an option that the command does not have.
        command.commands[step.arguments[0]].make_context(step.arguments[0], list(step.arguments[1:]))
        options = dict(zip(step.arguments, step.arguments[1:]))
        if step.arguments[0] == "demonstrate":
            load_robot(options["--robot"])
            load_task(options["--task"])
            assert int(options["--seed"]) >= 100_000
            written.add(options["--out"])
        elif step.arguments[0] == "train":
            changes = [
                change for option, change in zip(step.arguments, step.arguments[1:]) if option == "--set"
            ]
            config = load_training_config(find_resource(options["--config"]), changes)
            read = [str(dataset.folder) for robot in config.robots for dataset in robot.datasets]
            assert set(read) <= written, f"{name}: {read}"
            for start in (config.initial_checkpoint, config.model.vlm_checkpoint):
                assert start is None or str(start) in written or start.name in list_checkpoints()
            written.add(str(config.output / "checkpoint"))
        else:
            path = tmp_path / "suite.yaml"
            path.write_text(step.file[1])
            for entry in load_suite(path).entries:
                load_robot(entry.robot)
                load_task(entry.task)
                assert entry.policy in written or entry.policy in ("scripted", *list_checkpoints())
                assert max(entry.seeds) < 100_000
