"""The driver files, which of them a robot needs, the nodes' parameters, and the mistakes that are refused."""

import builtins
import importlib
from functools import cache

import numpy as np
import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot as read_robot
from dexvla_ros.bringup import driver_processes, parameter_file
from dexvla_ros.drivers import for_robot
from dexvla_ros.drivers.configuration import DEVICES, load_driver
from dexvla_ros.drivers.for_robot import drivers_for, undriven_systems
from dexvla_ros.nodes.parameters import ROBOT

# A robot's URDF takes a moment to expand.
load_robot = cache(read_robot)
ROBOTS = {"piper": "agilex_piper", "inspire": "inspire", "leap": "leap"}


@pytest.mark.parametrize("kind", DEVICES)
def test_the_file_that_ships_has_the_limits_of_the_robot(kind):
    robot = load_robot(ROBOTS[kind])
    file = load_driver(kind, robot)
    assert set(file.device.joints) == set(robot.action_joints)
    for joint, lower, upper in zip(file.device.joints, file.bounds.lower, file.bounds.upper):
        assert (lower, upper) == (robot.limits[joint].lower, robot.limits[joint].upper)
    assert np.all(file.bounds.velocity > 0.0)


def test_the_inspire_ranges_that_ship_are_the_urdfs():
    ranges = yaml.safe_load(find_resource("config/drivers/inspire.yaml").read_text())["inspire"]["ranges"]
    limits = load_robot("inspire").limits
    assert {joint: (pair["open_rad"], pair["closed_rad"]) for joint, pair in ranges.items()} == {
        joint: (limit.lower, limit.upper) for joint, limit in limits.items()
    }


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rate_hz:", "rate:", "driver.rate_hz is missing"),
        ("misses_max: 5", "misses_max: 0", "driver.misses_max is 0, but it has to lie in"),
        ("catch_up: 0.25", "catch_up: fast", "driver.catch_up is 'fast'"),
        ("temperature_warn_c: ", "temperature_warn_c: 90 # ", "temperature_warn_c is 90.*temperature_max_c"),
        ("reconnect_max_s: 10.0", "reconnect_max_s: 0.1", "reconnect_first_s is 0.5"),
        ("auto_enable: true", "auto_enable: true\n  colour: red", "driver.colour is no known key"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, kind, old, new, message):
    text = find_resource(f"config/drivers/{kind}.yaml").read_text()
    path = tmp_path / "driver.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_driver(kind, load_robot(ROBOTS[kind]), str(path))


@pytest.mark.parametrize(
    ("kind", "robot", "arguments", "message"),
    [
        ("piper", "ur5e", {}, "one with joint1, but the joints of .*ur5e.yaml are shoulder_pan_joint"),
        ("piper", "agilex_dual", {"joint_prefix": "middle_"}, "one with middle_joint1"),
        ("leap", "leap", {"path": "/nowhere.yaml"}, "/nowhere.yaml: the driver file cannot be read"),
        ("leap", "leap", {"path": str(find_resource("config/drivers/piper.yaml"))}, "this node drives leap"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(kind, robot, arguments, message):
    with pytest.raises(UserError, match=message):
        load_driver(kind, load_robot(robot), **arguments)


@pytest.mark.parametrize("kind", DEVICES)
def test_too_few_joints_are_refused(tmp_path, kind):
    content = yaml.safe_load(find_resource(f"config/drivers/{kind}.yaml").read_text())
    content["joints"] = content["joints"][:3]
    path = tmp_path / "driver.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="are needed"):
        load_driver(kind, load_robot(ROBOTS[kind]), str(path))


@pytest.mark.parametrize(
    ("kind", "library", "package"),
    [
        ("piper", "can", "python-can"),
        ("inspire", "pymodbus", "pymodbus"),
        ("leap", "dynamixel_sdk", "dynamixel-sdk"),
    ],
)
def test_a_library_that_is_missing_is_named_and_the_rest_does_without(monkeypatch, kind, library, package):
    real_import = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=f"needs the Python package {package}.*pip install {package}"):
        load_driver(kind, load_robot(ROBOTS[kind]))


@pytest.mark.parametrize(
    ("robot", "expected"),
    [
        ("agilex_piper", {"piper_node": ("piper_node", "piper.yaml")}),
        (
            "agilex_dual",
            {
                "piper_left_node": ("piper_node", "piper_left.yaml"),
                "piper_right_node": ("piper_node", "piper_right.yaml"),
            },
        ),
        ("ur5e_inspire", {"inspire_hand_node": ("inspire_node", "inspire.yaml")}),
        ("fr3_leap", {"leap_hand_node": ("leap_node", "leap.yaml")}),
        ("ur5e", {}),
        ("fr3", {}),
    ],
)
def test_a_robot_gets_the_drivers_whose_joints_its_urdf_has(robot, expected):
    processes = driver_processes(robot)
    assert {
        process.name: (process.executable, process.parameters["config"].rpartition("/")[2])
        for process in processes
    } == expected
    for process in processes:
        system = process.name.removesuffix("_node")
        assert process.remappings == {
            "joint_commands": f"{system}/joint_commands",
            "joint_states": f"{system}/joint_states",
        }
        importlib.import_module(process.module)


def test_ports_go_to_the_devices_that_they_name():
    by_name = {
        process.name: process.parameters["port"]
        for process in driver_processes("agilex_dual", {"piper_left": "can7"})
    }
    assert by_name == {"piper_left_node": "can7", "piper_right_node": ""}
    with pytest.raises(UserError, match="no device named 'leap'.*piper_left, piper_right"):
        driver_processes("agilex_dual", {"leap": "can7"})


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_two_files_of_a_pair_differ_from_the_single_one_in_names_and_channel_only(side):
    def content(name):
        return yaml.safe_load(find_resource(f"config/drivers/{name}.yaml").read_text())

    single, one = content("piper"), content(f"piper_{side}")
    assert one["joints"] == [f"{side}_{joint}" for joint in single["joints"]]
    assert one["piper"].pop("channel") == f"can_{side}"
    single["piper"].pop("channel")
    assert (one["piper"], one["driver"]) == (single["piper"], single["driver"])


@pytest.mark.parametrize("kind", DEVICES)
def test_the_parameter_file_lists_every_parameter_with_its_default(kind):
    module = importlib.import_module(f"dexvla_ros.nodes.{kind}_node")
    specs = {spec.name: spec for spec in (ROBOT, *module.PARAMETERS)}
    listed = yaml.safe_load(parameter_file().read_text())[f"/**/{kind}_node"]["ros__parameters"]
    assert listed == {name: spec.default for name, spec in specs.items()}
    for process in driver_processes(ROBOTS[kind]):
        for name, value in process.parameters.items():
            specs[name].check(value, process.name)


def test_a_system_whose_joints_no_driver_file_has_is_left_to_others_and_named(monkeypatch):
    robot = load_robot("fr3_leap")
    assert "leap_hand" not in undriven_systems(robot)
    monkeypatch.setattr(for_robot, "list_resources", lambda folder, suffix: ["piper"])
    assert "leap_hand" in undriven_systems(robot)
    assert drivers_for(robot) == ()
