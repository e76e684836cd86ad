"""The graph as data: which nodes run, with which parameters. The supervisor and the launch files read it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dexvla_model.resources import find_resource

PACKAGE = "dexvla_ros"


@dataclass(frozen=True)
class NodeProcess:
    """One process of the graph.

    Attributes:
        name: name of the node and of its executable; its module is `dexvla_ros.nodes.NAME`.
        parameters: what differs from config/nodes.yaml.
        remappings: topic names to replace.
        environment: variables set for this process.
    """

    name: str
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        return f"{PACKAGE}.nodes.{self.name}"


@dataclass(frozen=True)
class GraphOptions:
    """What a start of the graph decides.

    Attributes:
        robot: name or path of the robot file. task: name of the simulated task.
        policy: `scripted`, or name or path of a checkpoint; empty = the one that ships for robot and task.
        seed: of the simulated world.
        record_commands: file for the controllers' commands; empty = none.
        viewer: show the simulated world in a window.
    """

    robot: str
    policy: str = ""
    task: str = "pick_place"
    seed: int = 0
    record_commands: str = ""
    viewer: bool = False


def checked(options: GraphOptions) -> GraphOptions:
    """The options with the default policy filled in.

    Raises:
        UserError: there is no such robot, task or checkpoint, or no display for the viewer.
    """
    # Imported here: MuJoCo and the rest take a moment, and a launch file may only want to list its arguments.
    from dexvla_model.robot import load_robot
    from dexvla_ros.viewer import check_display
    from dexvla_sim.policies import SCRIPTED, default_policy, find_checkpoint
    from dexvla_sim.tasks import load_task

    robot = load_robot(options.robot)
    load_task(options.task)
    policy = options.policy or default_policy(robot, options.task)
    if policy != SCRIPTED:
        find_checkpoint(policy)
    if options.viewer:
        check_display()
    return replace(options, policy=policy)


def sim_process(options: GraphOptions) -> NodeProcess:
    """The simulation alone."""
    return NodeProcess(
        "sim_node",
        {
            "robot": options.robot,
            "task": options.task,
            "seed": options.seed,
            "record_commands": options.record_commands,
            "viewer": options.viewer,
        },
    )


def policy_processes(options: GraphOptions, use_sim_time: bool) -> tuple[NodeProcess, ...]:
    """The nodes that drive a robot, simulated or real, in the order of the data flow."""
    common = {"robot": options.robot, "use_sim_time": use_sim_time}
    return (
        NodeProcess("camera_node", common),
        NodeProcess("vlm_node", {**common, "policy": options.policy}),
        NodeProcess("action_node", {**common, "policy": options.policy}),
    )


def simulated_graph(options: GraphOptions) -> tuple[NodeProcess, ...]:
    """Simulation and policy: the whole graph without hardware."""
    return (sim_process(options), *policy_processes(options, use_sim_time=True))


def parameter_file() -> Path:
    """The commented defaults of every node."""
    return find_resource("config/nodes.yaml")


def graph_environment() -> dict[str, str]:
    """Variables that every process of a graph gets; what the user has set stands."""
    defaults = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "RCUTILS_COLORIZED_OUTPUT": "0"}
    return {name: value for name, value in defaults.items() if name not in os.environ}
