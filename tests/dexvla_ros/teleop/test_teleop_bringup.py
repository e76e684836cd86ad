"""The node in the graph as data, its parameter file, the launch file, and the command's mistakes."""

import ast
import os
import subprocess
import sys

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_ros.bringup import TeleopOptions, checked_teleop, parameter_file, teleop_process
from dexvla_ros.nodes.parameters import ROBOT
from dexvla_ros.nodes.teleop_node import PARAMETERS

SPECS = {spec.name: spec for spec in (ROBOT, *PARAMETERS)}


def flat(content, prefix=""):
    values = {}
    for key, value in content.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = tuple(value) if isinstance(value, list) else value
    return values


def test_the_parameter_file_lists_every_parameter_with_its_default():
    content = yaml.safe_load(parameter_file().read_text())
    listed = flat(content["/**/teleop_node"]["ros__parameters"])
    assert listed == {name: spec.default for name, spec in SPECS.items()}


def test_every_parameter_is_described_and_every_number_has_a_range():
    for name, spec in SPECS.items():
        assert spec.description.strip().endswith("."), name
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.lower <= spec.default <= spec.upper, name


def test_every_parameter_that_the_graph_sets_exists_and_is_allowed():
    process = teleop_process(checked_teleop(TeleopOptions("ur5e", "leader")), use_sim_time=True)
    for name, value in process.parameters.items():
        if name != "use_sim_time":
            SPECS[name].check(value, "teleop_node")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"robot": "nope"}, "nope.*ur5e"),
        ({"device": "mouse"}, "mouse.*keyboard, gamepad, leader"),
        ({"config": "/nowhere.yaml"}, "/nowhere.yaml"),
    ],
)
def test_wrong_names_are_refused_before_anything_starts(wrong, message):
    with pytest.raises(UserError, match=message):
        checked_teleop(TeleopOptions(**{"robot": "ur5e", **wrong}))


def test_every_argument_of_the_launch_file_is_described_and_used():
    path = find_resource("launch/teleop.launch.py")
    text = path.read_text()
    assignment = next(
        node for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS"
    )
    arguments = ast.literal_eval(assignment.value)
    assert {"robot", "device", "config", "sim", "use_sim_time"} <= arguments.keys()
    for name, (_, description) in arguments.items():
        assert description.endswith("."), name
        assert text.count(f'"{name}"') >= 2, name


def dexvla(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dexvla_ros.cli.main", "teleop", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "120"},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "mouse"], ["'mouse'", "keyboard, gamepad, leader"]),
        (["--config", "/nowhere/keys.yaml"], ["/nowhere/keys.yaml"]),
        (["--robot", "nope"], ["'nope'", "ur5e"]),
        ([], ["standard input", "terminal"]),
        (["--device", "gamepad", "--joystick", "/nowhere/js0"], ["--joystick /nowhere/js0", "joy_node"]),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr_and_exit_code_2(arguments, words):
    result = dexvla(*arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
