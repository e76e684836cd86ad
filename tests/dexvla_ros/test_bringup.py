"""The graph as data, its parameter file, and the launch file that reads the same data."""

import importlib

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_ros.bringup import (
    GraphOptions,
    checked,
    motion_process,
    parameter_file,
    policy_processes,
    simulated_graph,
)
from dexvla_ros.nodes.parameters import ROBOT

NODES = ("sim_node", "camera_node", "vlm_node", "action_node")


def specs(node: str) -> dict:
    module = importlib.import_module(f"dexvla_ros.nodes.{node}")
    return {spec.name: spec for spec in (ROBOT, *module.PARAMETERS)}


def flat(content: dict, prefix: str = "") -> dict:
    values = {}
    for key, value in content.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = tuple(value) if isinstance(value, list) else value
    return values


@pytest.fixture(scope="module")
def options() -> GraphOptions:
    return GraphOptions(robot="ur5e", policy="scripted", seed=4)


def test_the_simulated_graph_has_every_node_and_follows_the_simulated_clock(options):
    processes = simulated_graph(options)
    assert [process.name for process in processes] == list(NODES)
    for process in processes[1:]:
        assert process.parameters["use_sim_time"] is True
    assert processes[0].parameters["seed"] == 4


def test_on_a_real_robot_there_is_no_simulation_and_no_simulated_clock(options):
    processes = policy_processes(options, use_sim_time=False)
    assert [process.name for process in processes] == list(NODES[1:])
    assert not any(process.parameters["use_sim_time"] for process in processes)


def test_without_motion_node_nobody_is_asked_to_go_home(options):
    vlm = next(process for process in simulated_graph(options) if process.name == "vlm_node")
    assert vlm.parameters["home_around_tasks"] is False


def test_with_motion_node_the_parameter_file_decides_about_going_home(options):
    processes = simulated_graph(options, motion=True)
    assert [process.name for process in processes] == ["sim_node", "motion_node", *NODES[1:]]
    vlm = next(process for process in processes if process.name == "vlm_node")
    assert "home_around_tasks" not in vlm.parameters
    assert specs("vlm_node")["home_around_tasks"].default is True


def test_the_parameter_file_lists_those_of_motion_node():
    content = yaml.safe_load(parameter_file().read_text())
    listed = flat(content["/**/motion_node"]["ros__parameters"])
    assert listed == {name: spec.default for name, spec in specs("motion_node").items()}
    for name, value in motion_process("ur5e", use_sim_time=True).parameters.items():
        assert name == "use_sim_time" or specs("motion_node")[name].check(value, "motion_node")


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_that_the_graph_sets_exists_and_is_allowed(node, options):
    process = next(process for process in simulated_graph(options) if process.name == node)
    known = specs(node)
    for name, value in process.parameters.items():
        if name != "use_sim_time":
            known[name].check(value, node)


@pytest.mark.parametrize("node", NODES)
def test_the_parameter_file_lists_every_parameter_with_its_default(node):
    content = yaml.safe_load(parameter_file().read_text())
    listed = flat(content[f"/**/{node}"]["ros__parameters"])
    assert listed == {name: spec.default for name, spec in specs(node).items()}


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_is_described_and_every_number_has_a_range(node):
    for name, spec in specs(node).items():
        assert spec.description.strip().endswith("."), name
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.lower <= spec.default <= spec.upper, name


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chunk_hz", 1000.0, "action_node: the parameter chunk_hz is 1000.0 .allowed: 0.1 to 100"),
        ("chunk_hz", "often", "needed is a number"),
        ("threads", 1.5, "needed is a whole number"),
        ("streaming.compliant_controllers", "gripper", "needed is a list of texts"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(name, value, message):
    with pytest.raises(UserError, match=message):
        specs("action_node")[name].check(value, "action_node")


def test_a_whole_number_is_taken_where_a_number_is_wanted():
    assert specs("action_node")["chunk_hz"].check(4, "action_node") == 4.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"robot": "nope"}, "nope.*ur5e"),
        ({"task": "nope"}, "nope.*pick_place"),
        ({"policy": "nope"}, "nope.*scripted"),
    ],
)
def test_unknown_names_are_refused_before_anything_starts(wrong, message):
    with pytest.raises(UserError, match=message):
        checked(GraphOptions(**{"robot": "ur5e", "policy": "scripted", **wrong}))


def test_a_real_robot_for_which_no_policy_ships_asks_for_one():
    with pytest.raises(UserError, match="inspire.yaml: no checkpoint ships for the task posture"):
        checked(GraphOptions(robot="inspire", task=""), simulated=False)


def test_a_viewer_without_a_display_is_refused(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="DISPLAY"):
        checked(GraphOptions(robot="ur5e", policy="scripted", viewer=True))


@pytest.fixture
def launch_file(read_launch_file):
    """launch/sim.launch.py and what it starts."""
    return read_launch_file("sim")


def test_the_launch_file_starts_the_graph_that_the_supervisor_starts(launch_file):
    module, made = launch_file
    values = {"robot": "ur5e", "task": "pick_place", "policy": "scripted", "seed": "4", "viewer": "false"}
    module.start_graph(values)
    expected = simulated_graph(GraphOptions(robot="ur5e", policy="scripted", seed=4))
    nodes = made["LifecycleNode"]
    assert [node["executable"] for node in nodes] == [process.name for process in expected]
    assert [node["name"] for node in nodes] == [process.name for process in expected]
    for node, process in zip(nodes, expected):
        assert node["package"] == "dexvla_ros"
        assert node["parameters"] == [str(parameter_file()), dict(process.parameters)]


def test_the_launch_file_declares_its_arguments(launch_file):
    module, _ = launch_file
    declared = [action.args[0] for action in module.generate_launch_description().args[0][:-1]]
    assert declared == ["robot", "task", "policy", "seed", "viewer"]
