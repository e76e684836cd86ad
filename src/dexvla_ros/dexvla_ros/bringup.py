"""The graph as data: which nodes run, with which parameters. The supervisor and the launch files read it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource

PACKAGE = "dexvla_ros"


@dataclass(frozen=True)
class NodeProcess:
    """One process of the graph.

    Attributes:
        name: name of the node.
        parameters: what differs from config/nodes.yaml.
        remappings: topic names to replace.
        environment: variables set for this process.
        kind: name of the executable, and of its module in `dexvla_ros.nodes`; empty = that of the node.
    """

    name: str
    parameters: Mapping[str, bool | int | float | str | list[str]] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    @property
    def executable(self) -> str:
        return self.kind or self.name

    @property
    def module(self) -> str:
        return f"{PACKAGE}.nodes.{self.executable}"


@dataclass(frozen=True)
class GraphOptions:
    """What a start of the graph decides.

    Attributes:
        robot: name or path of the robot file. task: name of the simulated task; empty = the robot's own.
        policy: `scripted`, or name or path of a checkpoint; empty = the one that ships for robot and task,
            and in simulation, where none ships, `scripted`.
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


def checked(options: GraphOptions, simulated: bool = True, policy_drives: bool = True) -> GraphOptions:
    """The options with the default task and policy filled in.

    Args:
        simulated: the robot is not a real one. policy_drives: the policy is among the nodes to start.

    Raises:
        UserError: there is no such robot, task or checkpoint, none ships for a real robot, or no display for the
            viewer.
    """
    # Imported here: MuJoCo and the rest take a moment, and a launch file may only want to list its arguments.
    from dexvla_model.robot import load_robot
    from dexvla_ros.viewer import check_display
    from dexvla_sim.policies import SCRIPTED, check_scripted, default_policy, find_checkpoint, is_shipped
    from dexvla_sim.tasks import default_task, load_task

    robot = load_robot(options.robot)
    task = options.task or default_task(robot)
    load_task(task)
    policy = options.policy or default_policy(robot, task)
    if not options.policy and not is_shipped(policy):
        if not simulated:
            raise UserError(
                f"{robot.path}: no checkpoint ships for the task {task} of this robot; name one of your own, or, "
                "in a bringup, none for a robot without a policy."
            )
        policy = SCRIPTED
    if policy != SCRIPTED:
        find_checkpoint(policy)
    elif policy_drives:
        check_scripted(robot, task)
    if options.viewer:
        check_display()
    return replace(options, task=task, policy=policy)


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


def motion_process(robot: str, use_sim_time: bool) -> NodeProcess:
    """Planned motion alone; it goes beside any other part of the graph.

    Args:
        robot: name or path of the robot file.
    """
    return NodeProcess("motion_node", {"robot": robot, "use_sim_time": use_sim_time})


def dashboard_process(robot: str, use_sim_time: bool, host: str = "", port: int = 0) -> NodeProcess:
    """The operator's page alone; it goes beside any other part of the graph.

    Args:
        robot: name or path of the robot file. host, port: where it is served; empty and 0 = as in the node's file.
    """
    parameters = {"robot": robot, "use_sim_time": use_sim_time}
    parameters |= {name: value for name, value in (("host", host), ("port", port)) if value}
    return NodeProcess("dashboard_node", parameters)


def policy_processes(
    options: GraphOptions, use_sim_time: bool, motion: bool = False
) -> tuple[NodeProcess, ...]:
    """The nodes that drive a robot, simulated or real, in the order of the data flow.

    Args:
        motion: with motion_node, and home around tasks as config/nodes.yaml says; else without either.
    """
    common = {"robot": options.robot, "use_sim_time": use_sim_time}
    without_motion = {} if motion else {"home_around_tasks": False}
    return (
        *([motion_process(options.robot, use_sim_time)] if motion else []),
        NodeProcess("camera_node", common),
        NodeProcess("vlm_node", {**common, "policy": options.policy, **without_motion}),
        NodeProcess("action_node", {**common, "policy": options.policy}),
    )


def simulated_graph(options: GraphOptions, motion: bool = False) -> tuple[NodeProcess, ...]:
    """Simulation and policy: the whole graph without hardware. `motion`: see `policy_processes`."""
    return (sim_process(options), *policy_processes(options, use_sim_time=True, motion=motion))


@dataclass(frozen=True)
class TeleopOptions:
    """What a start of teleoperation decides.

    Attributes:
        robot: name or path of the robot file.
        device: keyboard, gamepad or leader. config: its teleoperation file; empty = the one that ships.
        engage_on_start: take the robot over at once.
    """

    robot: str
    device: str = "keyboard"
    config: str = ""
    engage_on_start: bool = False


def checked_teleop(options: TeleopOptions) -> TeleopOptions:
    """The options, after a look into the files that they name.

    Raises:
        UserError: there is no such robot, device or file, or the file has an error.
    """
    from dexvla_model.robot import load_robot
    from dexvla_ros.teleop.configuration import check_device_file

    check_device_file(options.device, options.config, load_robot(options.robot))
    return options


def teleop_process(options: TeleopOptions, use_sim_time: bool) -> NodeProcess:
    """Teleoperation alone; it goes beside any other part of the graph."""
    return NodeProcess(
        "teleop_node",
        {
            "robot": options.robot,
            "use_sim_time": use_sim_time,
            "device": options.device,
            "config": options.config,
            "engage_on_start": options.engage_on_start,
        },
    )


@dataclass(frozen=True)
class RecorderOptions:
    """What a start of the recorder decides.

    Attributes:
        robot: name or path of the robot file. out: folder for the episodes.
        topics: further topics by name. topic_pattern: and by a regular expression; empty = none.
    """

    robot: str
    out: str
    topics: tuple[str, ...] = ()
    topic_pattern: str = ""


def checked_recorder(options: RecorderOptions) -> RecorderOptions:
    """The options, if they make sense.

    Raises:
        UserError: there is no such robot, the pattern is no regular expression, or `out` cannot be made.
    """
    from dexvla_model.errors import UserError
    from dexvla_model.robot import load_robot
    from dexvla_ros.recording.topic_selection import TopicSelection

    robot = load_robot(options.robot)
    TopicSelection.make(robot, options.topics, options.topic_pattern, "", lambda name: name, "--pattern")
    try:
        Path(options.out).expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {options.out}: the folder cannot be made ({error.strerror}); name another one."
        ) from error
    return options


def recorder_process(options: RecorderOptions, use_sim_time: bool) -> NodeProcess:
    """The recorder alone; it goes beside any other part of the graph."""
    from dexvla_ros.recording.topic_selection import USUAL_TOPICS

    return NodeProcess(
        "recorder_node",
        {
            "robot": options.robot,
            "use_sim_time": use_sim_time,
            "out": options.out,
            "topics": [*USUAL_TOPICS, *options.topics],
            "topic_pattern": options.topic_pattern,
        },
    )


def driver_processes(robot: str, ports: Mapping[str, str] = MappingProxyType({})) -> tuple[NodeProcess, ...]:
    """The drivers of a real robot's devices, one for each ros2_control system that one of our drivers fits.

    Args:
        robot: name or path of the robot file.
        ports: CAN channel, serial port or HOST:PORT by the name of the system, where it is not the one in the
            driver's file.

    Raises:
        UserError: there is no such robot, or a port is given for a device that it lacks.
    """
    from dexvla_model.errors import UserError
    from dexvla_model.robot import load_robot
    from dexvla_ros.drivers.for_robot import drivers_for

    choices = drivers_for(load_robot(robot))
    systems = [choice.system for choice in choices]
    for system in ports:
        if system not in systems:
            raise UserError(
                f"The robot {robot} has no device named {system!r} "
                f"(allowed: {', '.join(systems) or 'none'}); correct the ports."
            )
    return tuple(
        NodeProcess(
            f"{choice.system}_node",
            {
                "robot": robot,
                "config": choice.config,
                "port": ports.get(choice.system, ""),
                "joint_prefix": choice.joint_prefix,
            },
            remappings=choice.remappings,
            kind=f"{choice.device}_node",
        )
        for choice in choices
    )


def evaluation_command(options: GraphOptions, episodes: int, timeout_s: float, output: str) -> list[str]:
    """The program that runs episodes in a simulated graph which is up, and prints JSON lines; see `dexvla demo`."""
    command = [sys.executable, "-m", f"{PACKAGE}.cli.main", "demo", "--attach", "--json", "--no-video"]
    command += ["--robot", options.robot, "--task", options.task, "--policy", options.policy]
    command += ["--seed", str(options.seed), "--episodes", str(episodes), "--timeout", str(timeout_s)]
    return [*command, "--output", output]


def parameter_file() -> Path:
    """The commented defaults of every node."""
    return find_resource("config/nodes.yaml")


def graph_environment() -> dict[str, str]:
    """Variables that every process of a graph gets; what the user has set stands."""
    defaults = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "RCUTILS_COLORIZED_OUTPUT": "0"}
    return {name: value for name, value in defaults.items() if name not in os.environ}
