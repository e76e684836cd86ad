"""Training two robots at once: sizes, horizons, cameras and statistics of their own, resumed exactly."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from rich.console import Console

from dexvla_model.checkpoint import load_checkpoint, load_policy
from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.errors import UserError
from dexvla_model.observation import Observation, RobotState
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.training.batches import Shard
from dexvla_model.training.config import load_training_config
from dexvla_model.training.mixture import mixture_of
from dexvla_model.training.trainer import Trainer

FILE = find_resource("config/training/pick_place_tiny.yaml")
UR5E = load_robot("ur5e")
GRIPPER = "robotiq_85_left_knuckle_joint"
LENGTH = 6
SMALL = [
    "model.vlm=nano",
    "model.expert=scaledp-nano",
    "model.horizon=4",
    "optimization.batch_size=8",
    "optimization.chunks_per_frame=1",
    "optimization.warmup_steps=2",
    "optimization.ema_decay=0.8",
    "optimization.threads=1",
    "optimization.mixed_precision='no'",
    "logging.log_every_steps=10",
    "logging.checkpoint_every_steps=1000",
]


def arm_file(folder, **changes):
    """The robot file of an arm without gripper and with one camera, made of the UR5e's."""
    values = yaml.safe_load(UR5E.text)
    values |= {"name": "bare_arm", "embodiment": "bare_arm", "cameras": values["cameras"][1:]}
    for layout in ("state", "action"):
        values[layout] = [entry for entry in values[layout] if entry["joint"] != GRIPPER]
    values["controllers"] = [entry for entry in values["controllers"] if GRIPPER not in entry["joints"]]
    values["limits"].pop(GRIPPER)
    values["home"].pop(GRIPPER)
    values["action"][0]["relative"] = False
    path = folder / "bare_arm.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def record(folder, robot, words):
    """Bright frames go with a motion to one side, dark ones with the other."""
    writer = DatasetWriter.open(folder, DatasetSpecification.of_robot(robot, 10))
    for seed in range(6):
        rng, bright = np.random.default_rng(seed), seed % 2 == 0
        with writer.begin_episode(f"move {robot.name}", str(seed)) as episode:
            for frame in range(LENGTH):
                images = {
                    c.role: np.full((c.model_height, c.model_width, 3), 220 if bright else 40, np.uint8)
                    for c in robot.cameras
                }
                state = robot.home_positions + rng.normal(0, 0.1, len(robot.state))
                episode.add_frame(frame * 100_000_000, state, state + (0.3 if bright else -0.3), images)
            episode.end([SubStepMark(0.0, words[0] if bright else words[1])])
    writer.finish()
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The arm's robot file, and `robots` of a training file: three frames of the UR5e to one of the arm."""
    folder = tmp_path_factory.mktemp("data")
    path = arm_file(folder)
    ur5e = record(folder / "ur5e", UR5E, ("go left", "go right"))
    arm = record(folder / "arm", load_robot(path), ("reach up", "reach down"))
    robots = [
        {"robot": "ur5e", "weight": 3, "datasets": [str(ur5e)]},
        {"robot": str(path), "weight": 1, "horizon": 6, "datasets": [{"folder": str(arm)}]},
    ]
    return path, robots


def training_file(folder, robots, **top):
    """The shipped training file with several robots instead of one."""
    values = yaml.safe_load(FILE.read_text())
    del values["robot"], values["datasets"]
    path = folder / "two_robots.yaml"
    path.write_text(yaml.safe_dump(values | {"robots": robots} | top))
    return path


def config_of(robots, output, *overrides: str):
    output.mkdir(parents=True, exist_ok=True)
    settings = [*SMALL, "optimization.steps=40", f"output={output}", *overrides]
    return load_training_config(training_file(output, robots), settings)


def trainer(robots, output, *overrides: str) -> Trainer:
    return Trainer(config_of(robots, output, *overrides), console=Console(file=io.StringIO()))


def log_of(output) -> list[dict]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_s"} for line in lines]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    return output, trainer(data[1], output).run()


def test_the_losses_of_both_robots_fall(finished):
    lines = log_of(finished[0])
    for loss in ("action_loss.ur5e_2f85", "action_loss.bare_arm", "action_loss"):
        assert lines[-1][loss] < 0.9 * lines[0][loss]
    assert lines[-1]["language_loss"] < 0.5 * lines[0]["language_loss"]


def test_the_checkpoint_holds_both_robots_as_they_are(finished, data):
    checkpoint = load_checkpoint(finished[1]["checkpoint"])
    heads = {name: embodiment.head for name, embodiment in checkpoint.model.config.embodiments.items()}
    sizes = {name: (head.state_size, head.action_size, head.horizon) for name, head in heads.items()}
    assert sizes == {"ur5e_2f85": (7, 7, 4), "bare_arm": (6, 6, 6)}
    assert checkpoint.robots["bare_arm"].text == data[0].read_text()
    assert checkpoint.robots["ur5e_2f85"].text == UR5E.text
    assert checkpoint.statistics["bare_arm"].relative_to == (-1, 1, 2, 3, 4, 5)
    assert len(checkpoint.provenance["datasets"]) == 2
    assert checkpoint.provenance["frames"] == 2 * 6 * LENGTH


def test_both_heads_drive_and_say_what_their_own_data_said(finished, data):
    for robot, horizon, words in ((UR5E, 4, "go left"), (load_robot(data[0]), 6, "reach up")):
        policy = load_policy(finished[1]["checkpoint"], robot)
        policy.reset(0)
        images = {c.role: np.full((c.model_height, c.model_width, 3), 220, np.uint8) for c in robot.cameras}
        state = RobotState(1.0, robot.home_positions)
        substep = policy.reason(Observation(1.0, images, state), f"move {robot.name}")
        assert substep.text.split()[0] == words.split()[0]
        positions = policy.act(substep, state).positions
        assert positions.shape == (horizon, len(robot.action)) and np.isfinite(positions).all()


def test_a_run_that_was_killed_goes_on_with_the_same_losses(data, tmp_path):
    class Killed(BaseException):
        """Nothing is saved on the way out."""

    class Dying(Trainer):
        def _train_step(self, batch):
            if self.step == 9:
                raise Killed
            return super()._train_step(batch)

    settings = (
        "optimization.steps=12", "optimization.workers=1", "augmentation=published",
        "logging.log_every_steps=1", "logging.checkpoint_every_steps=6",
    )
    trainer(data[1], tmp_path / "whole", *settings).run()
    dying = trainer(data[1], tmp_path / "killed", *settings)
    dying.__class__ = Dying
    with pytest.raises(Killed):
        dying.run()
    del dying
    assert len(log_of(tmp_path / "killed")) == 9
    resumed = trainer(data[1], tmp_path / "killed", *settings)
    assert resumed.step == 6
    resumed.run()
    assert [line["step"] for line in log_of(tmp_path / "whole")] == list(range(1, 13))
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


def test_a_checkpoint_of_one_robot_learns_another_beside_it(data, tmp_path):
    first = trainer(data[1][:1], tmp_path / "first", "optimization.steps=1").run()
    both = trainer(
        data[1], tmp_path / "both", "optimization.steps=2", f"initial_checkpoint={first['checkpoint']}"
    )
    assert "it gets a new head and its statistics" in " ".join(both._console.file.getvalue().split())
    summary = both.run()
    assert set(load_checkpoint(summary["checkpoint"]).robots) == {"ur5e_2f85", "bare_arm"}


def test_a_robot_that_does_not_go_with_the_checkpoint_is_refused(data, tmp_path):
    path, (ur5e, arm) = data
    first = trainer([ur5e], tmp_path / "first", "optimization.steps=1").run()
    start = f"initial_checkpoint={first['checkpoint']}"
    with pytest.raises(UserError, match="horizon of ur5e is 5, but its head in .* has 4 rows"):
        trainer([ur5e | {"horizon": 5}], tmp_path / "longer", start)
    other = arm_file(tmp_path, name="ur5e")
    with pytest.raises(UserError, match="name is 'ur5e', but .* keeps the robot file of .*'ur5e_2f85'"):
        trainer([arm | {"robot": str(other)}], tmp_path / "named", start)


def test_a_batch_with_fewer_frames_than_processes_is_refused(data, tmp_path):
    config = config_of(data[1], tmp_path, "optimization.batch_size=3")
    with pytest.raises(UserError, match="batch_size is 3, but 4 processes share a batch"):
        mixture_of((), {}, {}, config, Shard(0, 4))


PROCESS = """
import hashlib, io, sys
from pathlib import Path
from rich.console import Console
from dexvla_model.training.config import load_training_config
from dexvla_model.training.trainer import Trainer
trainer = Trainer(load_training_config(Path(sys.argv[1]), sys.argv[2:]), console=Console(file=io.StringIO()))
trainer.run()
digest = hashlib.sha256()
for weight in trainer._plain_model.parameters():
    digest.update(weight.detach().numpy().tobytes())
shard = trainer._accelerator
print(f"WEIGHTS {shard.process_index} of {shard.num_processes} {digest.hexdigest()}", flush=True)
"""


@pytest.mark.slow
def test_two_processes_train_one_model(data, tmp_path):
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    path = training_file(tmp_path, data[1])
    settings = ["optimization.steps=20", "logging.log_every_steps=10", f"output={tmp_path / 'run'}"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(script), str(path), *SMALL, *settings],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = sorted(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("WEIGHTS"))
    assert [line[:3] for line in said] == [["0", "of", "2"], ["1", "of", "2"]]
    assert said[0][3] == said[1][3]
    lines = log_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[1]["language_loss"] < lines[0]["language_loss"]
    load_policy(tmp_path / "run" / "checkpoint", load_robot(data[0]))


def test_without_weights_every_frame_counts_alike(data, tmp_path):
    unweighted = [{key: value for key, value in robot.items() if key != "weight"} for robot in data[1]]
    batches = trainer(unweighted, tmp_path)._mixtures[0]
    taken = [sum(len(p.state) for p in batches.batch(s) if p.embodiment == "bare_arm") for s in range(5)]
    assert sum(taken) == pytest.approx(20, abs=3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda robots: robots[0].pop("weight"), r"robots\[0\].weight is missing, but other robots have one"),
        (lambda robots: robots[0].pop("datasets"), r"the key robots\[0\].datasets is missing"),
        (lambda robots: robots[1].update(horizont=3), r"robots\[1\].horizont is no known key"),
        (lambda robots: robots[1].update(weight=0), r"robots\[1\].weight is 0"),
        (lambda robots: robots[1].update(robot="ur5e"), r"robots\[1\].robot is 'ur5e'.*one entry only"),
        (lambda robots: robots.clear(), "robots is .*a non-empty list is needed"),
    ],
)
def test_a_wrong_entry_is_named(data, tmp_path, change, expected):
    robots = [dict(robot) for robot in data[1]]
    change(robots)
    with pytest.raises(UserError, match=expected):
        load_training_config(training_file(tmp_path, robots))


def test_one_robot_and_several_do_not_stand_in_one_file(data, tmp_path):
    with pytest.raises(UserError, match="robot is given beside robots, but each entry"):
        load_training_config(training_file(tmp_path, data[1], robot="ur5e"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"embodiment": "ur5e_2f85"}, r"robots\[1\].robot is .*embodiment 'ur5e_2f85' is that of 'ur5e' too"),
        ({"name": "ur5e"}, r"robots\[1\].robot is .*name 'ur5e' is that of 'ur5e' too"),
    ],
)
def test_robots_that_would_overwrite_each_other_are_refused(data, tmp_path, changes, expected):
    robots = [data[1][0], data[1][1] | {"robot": str(arm_file(tmp_path, **changes))}]
    with pytest.raises(UserError, match=expected):
        trainer(robots, tmp_path / "run")
