"""Everything that runs around one robot, as data; the launch file and `dexvla run` read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_ros.bringup import (
    GraphOptions,
    NodeProcess,
    checked,
    dashboard_process,
    driver_processes,
    motion_process,
    policy_processes,
    sim_process,
)
from dexvla_ros.camera_drivers import CAMERAS, NONE, camera_nodes
from dexvla_ros.foreign import Foreign, ForeignNode, RobotUrdf
from dexvla_ros.vendor_bringup import (
    gripper_processes,
    plugins_of,
    vendor_launch,
    vendor_of,
    xacro_arguments,
)

SIM, MOCK, REAL = "sim", "mock", "real"
HARDWARE = (SIM, MOCK, REAL)
# In place of a checkpoint: no policy, for teleoperation, recording or planned motion alone.
NO_POLICY = "none"


@dataclass(frozen=True)
class BringupOptions:
    """What a bringup decides.

    Attributes:
        robot: name or path of the robot file. hardware: sim, mock or real.
        robot_ip: address of a real arm that has one.
        policy: as for `GraphOptions`, or `none`. task, seed, viewer: of the simulation.
        cameras: who publishes real cameras: none (somebody else), realsense, usb or ours.
        camera_devices: serial number or device by the camera's role.
        ports: of devices that our drivers speak to, by the name of the ros2_control system.
        vendor_arguments: further arguments for the vendor's launch file.
        motion: start motion_node. dashboard: start the operator's page.
    """

    robot: str
    hardware: str = SIM
    robot_ip: str = ""
    policy: str = ""
    task: str = ""
    seed: int = 0
    viewer: bool = False
    cameras: str = NONE
    camera_devices: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    vendor_arguments: Mapping[str, str] = field(default_factory=dict)
    motion: bool = True
    dashboard: bool = False


@dataclass(frozen=True)
class RobotGraph:
    """What has to run: things of other packages first, then our nodes, in the order of the data flow."""

    foreign: tuple[Foreign, ...]
    processes: tuple[NodeProcess, ...]
    use_sim_time: bool


def parse_pairs(text: str, argument: str) -> dict[str, str]:
    """`NAME=VALUE,NAME=VALUE` as a mapping.

    Raises:
        UserError: the text has another form, or a name twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not (name and equals and value) or name in pairs:
            raise UserError(
                f"{argument} is {text!r}, needed is NAME=VALUE,NAME=VALUE with each name once; correct it."
            )
        pairs[name] = value
    return pairs


def checked_bringup(options: BringupOptions) -> BringupOptions:
    """The options with task and policy filled in.

    Raises:
        UserError: a value is not allowed, something is missing, or things that do not go together.
    """
    from dexvla_model.robot import load_robot
    from dexvla_sim.policies import SCRIPTED

    robot = load_robot(options.robot)
    for name, value, allowed in (
        ("hardware", options.hardware, HARDWARE),
        ("cameras", options.cameras, CAMERAS),
    ):
        if value not in allowed:
            raise UserError(f"{name} is {value!r} (allowed: {', '.join(allowed)}); name one of these.")
    simulated = options.hardware == SIM
    if simulated and options.cameras != NONE:
        raise UserError(f"cameras is {options.cameras!r}, but hardware sim has its own; leave it at none.")
    if options.hardware != REAL:
        for name in ("robot_ip", "ports", "vendor_arguments"):
            if getattr(options, name):
                raise UserError(f"{name} is given, but means something to hardware real only; leave it out.")
    elif not options.robot_ip and _needs_address(robot):
        raise UserError(
            f"robot_ip is missing: the arm of {robot.path} is reached over the network; give its address."
        )
    if options.viewer and not simulated:
        raise UserError("viewer shows the simulated world; leave it out where hardware is not sim.")
    if not simulated and options.policy == SCRIPTED:
        raise UserError(
            f"checkpoint is {SCRIPTED!r}, but that demonstrator knows the simulated world only; name a "
            f"checkpoint, or {NO_POLICY!r} for a robot without a policy."
        )
    graph = GraphOptions(options.robot, options.policy, options.task, options.seed, viewer=options.viewer)
    if options.policy == NO_POLICY:
        graph = replace(
            checked(replace(graph, policy=SCRIPTED), simulated, policy_drives=False), policy=NO_POLICY
        )
    else:
        graph = checked(graph, simulated)
    return replace(options, task=graph.task, policy=graph.policy)


def robot_graph(options: BringupOptions) -> RobotGraph:
    """The graph of checked options.

    Raises:
        UserError: the robot's files do not say what is needed.
    """
    from dexvla_model.robot import load_robot

    robot = load_robot(options.robot)
    simulated = options.hardware == SIM
    foreign: list[Foreign] = []
    processes: list[NodeProcess] = []
    if simulated:
        foreign.append(replace(description_node(options.robot, SIM, "", True), optional=True))
        processes.append(sim_process(_graph_options(options)))
    else:
        foreign_cameras, own_cameras = camera_nodes(options.cameras, robot, options.camera_devices)
        controlled, bridges = _controlled(options, robot)
        foreign += [*controlled, *foreign_cameras]
        processes += [*bridges, *own_cameras]
    if options.policy != NO_POLICY:
        processes += policy_processes(_graph_options(options), simulated, options.motion)
    elif options.motion:
        processes.append(motion_process(options.robot, simulated))
    if options.dashboard:
        processes.append(dashboard_process(options.robot, simulated))
    return RobotGraph(tuple(foreign), tuple(processes), simulated)


def description_node(robot: str, hardware: str, robot_ip: str, use_sim_time: bool) -> ForeignNode:
    """robot_state_publisher with the robot's URDF for this hardware; ros2_control reads it from its topic."""
    from dexvla_model.robot import load_robot

    urdf = RobotUrdf(robot, xacro_arguments(load_robot(robot), hardware, robot_ip))
    return ForeignNode(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        label="robot_state_publisher",
        name="robot_state_publisher",
        parameters={"robot_description": urdf, "use_sim_time": use_sim_time},
    )


def controllers_file(robot: RobotDescription, hardware: str) -> Path:
    """The controllers file for this hardware: NAME_real.yaml for the real robot where there is one.

    Raises:
        UserError: the robot has none.
    """
    from dexvla_model.robot.check import controller_files

    files = controller_files(robot.name, robot.path)
    if not files:
        raise UserError(
            f"{robot.path}: the robot has no controllers file; write config/controllers/{robot.name}.yaml."
        )
    return files[-1] if hardware == REAL else files[0]


def _controlled(
    options: BringupOptions, robot: RobotDescription
) -> tuple[tuple[Foreign, ...], tuple[NodeProcess, ...]]:
    """Description, controller manager and controllers, of the vendor or our own, and the devices' drivers."""
    file = controllers_file(robot, options.hardware)
    vendor = vendor_of(robot) if options.hardware == REAL else None
    if vendor is None:
        if options.vendor_arguments:
            raise UserError(
                f"vendor_arguments is given, but no vendor's launch file starts {robot.path}; leave it out."
            )
        description = description_node(options.robot, options.hardware, options.robot_ip, False)
        drivers = driver_processes(options.robot, options.ports) if options.hardware == REAL else ()
        manager = _controller_manager(robot, options.hardware, file)
        return (description, manager, *_spawners(robot, file)), drivers
    launch = vendor_launch(vendor, robot, options.robot_ip, file, options.vendor_arguments)
    bridges = gripper_processes(vendor, robot)
    drivers = driver_processes(options.robot, options.ports)
    spawned = {*vendor.spawned, *(vendor.bridged if bridges else ())}
    return (launch, *_spawners(robot, file, spawned, bool(bridges))), (*bridges, *drivers)


def _controller_manager(robot: RobotDescription, hardware: str, file: Path) -> ForeignNode:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    manager = content["controller_manager"]["ros__parameters"]
    types = [value["type"] for value in manager.values() if isinstance(value, dict)]
    return ForeignNode(
        package="controller_manager",
        executable="ros2_control_node",
        label="controller_manager",
        parameter_files=(file,),
        remappings={"~/robot_description": "/robot_description"},
        plugins=tuple(dict.fromkeys([*plugins_of(robot, hardware).values(), *types])),
    )


def _spawners(
    robot: RobotDescription, file: Path, without: set[str] = frozenset(), streamed_only: bool = False
) -> tuple[ForeignNode, ...]:
    """Loads every controller of the file; the broadcaster and those that a policy streams to become active."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    declared = content["controller_manager"]["ros__parameters"]
    names = [name for name, value in declared.items() if isinstance(value, dict) and name not in without]
    wanted = {"joint_state_broadcaster", *(controller.name for controller in robot.controllers)}
    active = [name for name in names if name in wanted]
    inactive = [] if streamed_only else [name for name in names if name not in wanted]
    common = ("--controller-manager", "/controller_manager", "--controller-manager-timeout", "60")
    return tuple(
        ForeignNode(
            package="controller_manager",
            executable="spawner",
            label=label,
            arguments=(*controllers, *common, *flags),
            ends=True,
        )
        for label, controllers, flags in (
            ("spawner", active, ()),
            ("spawner_inactive", inactive, ("--inactive",)),
        )
        if controllers
    )


def _graph_options(options: BringupOptions) -> GraphOptions:
    return GraphOptions(options.robot, options.policy, options.task, options.seed, viewer=options.viewer)


def _needs_address(robot: RobotDescription) -> bool:
    return any(
        plugin.startswith(("ur_robot_driver/", "franka_hardware/"))
        for plugin in plugins_of(robot, REAL).values()
    )
