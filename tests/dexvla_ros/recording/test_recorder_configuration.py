"""What is configured rather than coded: topics, parameters, keys, and the command of `ros2 bag record`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import parse_robot
from dexvla_ros.bringup import RecorderOptions, checked_recorder, parameter_file, recorder_process
from dexvla_ros.nodes.parameters import ROBOT
from dexvla_ros.nodes.recorder_node import PARAMETERS
from dexvla_ros.recording.operator_file import ACTIONS, ButtonPresses, GamepadConfig, load_operator_file
from dexvla_ros.recording.ros2_bag import ros2_bag_command
from dexvla_ros.recording.topic_selection import TopicSelection

SPECS = {spec.name: spec for spec in (ROBOT, *PARAMETERS)}


def select(robot, topics=(), pattern="", exclude="") -> TopicSelection:
    def resolve(name: str) -> str:
        return f"/{name.lstrip('/')}"

    return TopicSelection.make(robot, topics, pattern, exclude, resolve, "recorder_node")


# Topics


@pytest.mark.parametrize(
    "name",
    [
        "/joint_states",
        "/cameras/scene/image_raw",
        "/cameras/wrist/camera_info",
        "/joint_trajectory_controller/joint_trajectory",
        "/gripper_controller/joint_trajectory",
        "/action_chunk",
        "/substep",
        "/observation",
        "/instruction",
        "/recorder/sub_step",
    ],
)
def test_everything_that_the_robot_file_and_the_stack_name_is_recorded(robot, name):
    assert select(robot).find(name) is not None


def test_a_compressed_camera_is_recorded_as_it_comes(robot):
    text = robot.text.replace("transport: raw", "transport: compressed", 1)
    selection = select(parse_robot(text, robot.path))
    assert "/cameras/scene/image_raw/compressed" in selection.required
    assert selection.find("/cameras/scene/image_raw") is None


def test_cameras_and_joint_states_are_required_with_the_rates_of_the_robot_file(robot):
    selection = select(robot)
    cameras = {"/cameras/scene/image_raw", "/cameras/wrist/image_raw"}
    assert set(selection.required) == {"/joint_states"} | cameras
    assert selection.find("/joint_states").nominal_hz == robot.rates.joint_state_hz


def test_a_pattern_stands_for_the_whole_name(robot):
    selection = select(robot, pattern="/ft/.*|/tactile")
    assert selection.find("/ft/left") is not None
    assert selection.find("/tactile") is not None
    assert selection.find("/tactile/left") is None
    assert selection.find("/other") is None


def test_an_exclusion_is_stronger_than_a_wish_but_not_than_what_is_required(robot):
    selection = select(robot, topics=["/tf"], pattern=".*", exclude="/tf|/joint_states|/observation")
    assert selection.find("/tf") is None
    assert selection.find("/observation") is None
    assert selection.find("/joint_states") is not None


def test_a_pattern_that_is_none_is_named(robot):
    with pytest.raises(UserError, match=r"recorder_node: topic_pattern is '\(', which is no regular"):
        select(robot, pattern="(")


# The node


def test_the_parameter_file_lists_every_parameter_of_the_recorder_with_its_default():
    listed = yaml.safe_load(parameter_file().read_text())["/**/recorder_node"]["ros__parameters"]
    listed = {name: tuple(value) if isinstance(value, list) else value for name, value in listed.items()}
    assert listed == {name: spec.default for name, spec in SPECS.items()}


def test_every_parameter_of_the_recorder_is_described_and_every_number_has_a_range():
    for name, spec in SPECS.items():
        assert spec.description.strip().endswith("."), name
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.lower <= spec.default <= spec.upper, name


def test_what_the_bringup_sets_exists_and_is_allowed(tmp_path):
    options = checked_recorder(RecorderOptions("ur5e", str(tmp_path), ("/ft",), "/x.*"))
    process = recorder_process(options, use_sim_time=True)
    assert process.parameters["use_sim_time"] is True
    for name, value in process.parameters.items():
        if name != "use_sim_time":
            SPECS[name].check(value, "recorder_node")
    assert "/ft" in process.parameters["topics"] and "/tf_static" in process.parameters["topics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RecorderOptions("nope", "out"), "'nope'"),
        (RecorderOptions("ur5e", "/dev/null/x"), "--out /dev/null/x"),
        (RecorderOptions("ur5e", "out", topic_pattern="["), "--pattern: topic_pattern"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(options, message):
    with pytest.raises(UserError, match=message):
        checked_recorder(options)


# Keys and buttons


def test_the_file_that_ships_has_a_key_for_everything():
    file = load_operator_file()
    assert set(file.keys.values()) == set(ACTIONS)
    assert set(file.gamepad.buttons) == {"start", "success", "failure", "discard", "mark"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("m: mark ", "m: dance "), "keys.m is 'dance'.*allowed are start"),
        (("s: success", "s: failure"), "keys is without success, but every action needs a key"),
        (("success: 0", "success: -1"), "gamepad.buttons.success is -1"),
        (("topic: joy", "subject: joy"), "the key gamepad.topic is missing"),
        (("discard: 2", "explode: 2"), "gamepad.buttons.explode is no known key"),
    ],
)
def test_a_wrong_entry_of_the_file_is_named(tmp_path, change, message):
    text = find_resource("config/recording/operator.yaml").read_text()
    assert change[0] in text
    path = tmp_path / "keys.yaml"
    path.write_text(text.replace(*change))
    with pytest.raises(UserError, match=f"{path}: {message}"):
        load_operator_file(path)


@pytest.fixture
def presses():
    buttons = {"start": 0, "success": 1, "mark": 2}
    presses = ButtonPresses(GamepadConfig("joy", unless_held=4, buttons=buttons))
    assert presses.update([1, 0, 0, 0, 0]) == []  # what is held when the pad appears means nothing
    assert presses.update([0, 0, 0, 0, 0]) == []
    return presses


def test_a_button_counts_when_it_goes_down_and_once(presses):
    assert presses.update([1, 0, 0, 0, 0]) == ["start"]
    assert presses.update([1, 0, 0, 0, 0]) == []
    assert presses.update([0, 1, 0, 0, 0]) == ["success"]
    assert presses.update([0, 0, 0, 0, 0]) == []


def test_while_the_pad_moves_the_robot_only_marks_count(presses):
    assert presses.update([1, 1, 1, 0, 1]) == ["mark"]


def test_a_pad_with_fewer_buttons_does_no_harm(presses):
    assert presses.update([1]) == ["start"]
    assert presses.update([]) == []


# ros2 bag


def test_ros2_bag_records_the_same_topics(robot, tmp_path):
    command = ros2_bag_command("ur5e", str(tmp_path / "bag"), "put it in", "me", "/ft", use_sim_time=True)
    assert command[:3] == ["ros2", "bag", "record"]
    topics = command[command.index("--topics") + 1 :]
    assert set(select(robot, SPECS["topics"].default).wanted) == set(topics)
    assert "instruction=put it in" in command
    assert "--use-sim-time" in command
    for option in ("--storage-config-file", "--qos-profile-overrides-path"):
        assert yaml.safe_load(Path(command[command.index(option) + 1]).read_text())


def test_the_files_for_ros2_bag_have_the_shape_that_it_reads():
    overrides = yaml.safe_load(find_resource("config/recording/ros2_bag_qos.yaml").read_text())
    for name, profile in overrides.items():
        assert name.startswith("/")
        assert profile.keys() == {"history", "depth", "reliability", "durability"}
    storage = yaml.safe_load(find_resource("config/recording/ros2_bag_mcap.yaml").read_text())
    assert storage["compression"] == "Zstd"


def test_a_bag_that_is_there_and_files_that_are_not_are_refused(tmp_path):
    with pytest.raises(UserError, match="exists already"):
        ros2_bag_command("ur5e", str(tmp_path))
    with pytest.raises(UserError, match="qos:=/nowhere.yaml"):
        ros2_bag_command("ur5e", "", qos="/nowhere.yaml")


@pytest.fixture
def launch_file(monkeypatch):
    """launch/record.launch.py, read with `launch` replaced: no wheels have it."""

    class Recorded(SimpleNamespace):
        def __init__(self, *args, **kwargs):
            super().__init__(args=args, kwargs=kwargs)

    class LaunchConfiguration(Recorded):
        def perform(self, context):
            return context[self.args[0]]

    for name, members in {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "ExecuteProcess", "OpaqueFunction"],
        "launch.substitutions": [],
    }.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, type(member, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration
    path = find_resource("launch/record.launch.py")
    spec = importlib.util.spec_from_file_location("record_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_launch_file_runs_that_command(launch_file):
    values = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()}
    (process,) = launch_file.start_recording(values)
    assert process.kwargs["cmd"] == ros2_bag_command("ur5e", "")


def test_the_launch_file_declares_and_describes_its_arguments(launch_file):
    declared = launch_file.generate_launch_description().args[0][:-1]
    assert [action.args[0] for action in declared] == list(launch_file.ARGUMENTS)
    assert all(action.kwargs["description"].endswith(".") for action in declared)
