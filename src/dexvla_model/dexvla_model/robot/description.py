"""The robot file as a dataclass: the contract between training, recording and deployment."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.yaml_reader import MappingReader, parse_yaml
from dexvla_model.robot.urdf import expand_xacro, urdf_joint_limits

TRANSPORTS = ("raw", "compressed")
CONTROLLER_TYPES = ("joint_trajectory_controller/JointTrajectoryController",)
UNITS = ("rad", "m")
# Sides in pixels of what one vision token covers: 28 for Qwen2-VL and Qwen2.5-VL (patches of 14, merged two by
# two), 32 for Qwen3-VL. Which of them it has to be is checked when a model is built for the robot.
IMAGE_MULTIPLES = (28, 32)


@dataclass(frozen=True)
class Camera:
    """A camera and what the model sees of it.

    Attributes:
        role: the policy's name of the view, such as `scene` or `wrist`.
        topic: the image topic; `info_topic` its camera_info.
        frame: the optical frame (REP-103: z forward, x right, y down).
        transport: `raw` (sensor_msgs/Image) or `compressed` (sensor_msgs/CompressedImage).
        width, height: pixels of the stream. rate_hz: its rate.
        model_width, model_height: pixels that the model sees.
    """

    role: str
    topic: str
    info_topic: str
    frame: str
    transport: str
    width: int
    height: int
    rate_hz: float
    model_width: int
    model_height: int


@dataclass(frozen=True)
class LayoutEntry:
    """One dimension of the state or action vector: the position of `joint` in `unit`.

    `relative` (actions only): the policy predicts it relative to the state at the chunk's start.
    """

    joint: str
    unit: str
    relative: bool = False


@dataclass(frozen=True)
class Controller:
    """A ros2_control controller that takes actions; its joints in the controller's order."""

    name: str
    type: str
    joints: tuple[str, ...]

    @property
    def topic(self) -> str:
        """Topic of the streamed trajectories (trajectory_msgs/JointTrajectory)."""
        return f"{self.name}/joint_trajectory"


@dataclass(frozen=True)
class Rates:
    """Rates in Hz: observations to the policy, rows of an action chunk, joint_states, the controllers' update."""

    observation_hz: float
    action_hz: float
    joint_state_hz: float
    controller_hz: float


@dataclass(frozen=True)
class JointLimits:
    """What a command to one joint may never exceed.

    In the joint's own `unit`, rad for one that turns and m for one that slides: `lower` and `upper` in unit,
    `velocity` in unit/s, `acceleration` in unit/s^2, `jerk` in unit/s^3.
    """

    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float
    unit: str = "rad"


@dataclass(frozen=True)
class RobotDescription:
    """Everything the stack knows of a robot. See `load_robot`.

    Attributes:
        state, action: the layout of the state vector (S,) and action vector (A,).
        home: position of every action joint at rest, in the joint's unit.
        limits: hard limits by joint, for every action joint.
        text: the file's text, embedded in checkpoints and bags.
    """

    name: str
    embodiment: str
    path: Path
    text: str
    urdf_path: Path
    urdf_arguments: dict[str, str]
    cameras: tuple[Camera, ...]
    state: tuple[LayoutEntry, ...]
    action: tuple[LayoutEntry, ...]
    controllers: tuple[Controller, ...]
    rates: Rates
    home: dict[str, float]
    limits: dict[str, JointLimits] = field(repr=False)
    base_frame: str = "base_link"

    @property
    def state_joints(self) -> tuple[str, ...]:
        return tuple(entry.joint for entry in self.state)

    @property
    def action_joints(self) -> tuple[str, ...]:
        return tuple(entry.joint for entry in self.action)

    @cached_property
    def home_positions(self) -> np.ndarray:
        """(A,) home pose in the order of the action vector, each in its joint's unit."""
        return np.array([self.home[joint] for joint in self.action_joints])

    def camera(self, role: str) -> Camera:
        """The camera of that role.

        Raises:
            UserError: the robot has no such camera.
        """
        for camera in self.cameras:
            if camera.role == role:
                return camera
        roles = ", ".join(camera.role for camera in self.cameras)
        raise UserError(f"{self.path}: there is no camera with the role {role!r}; the file's cameras are {roles}.")

    def controller(self, name: str) -> Controller:
        """The controller of that name.

        Raises:
            UserError: the robot has no such controller.
        """
        for controller in self.controllers:
            if controller.name == name:
                return controller
        names = ", ".join(controller.name for controller in self.controllers)
        raise UserError(f"{self.path}: there is no controller named {name!r}; the file's controllers are {names}.")

    def urdf_xml(self) -> str:
        """The expanded URDF."""
        return expand_xacro(self.urdf_path, self.urdf_arguments)


def load_robot(name_or_path: str | Path) -> RobotDescription:
    """Load `config/robots/NAME.yaml`, or the file at a path that ends in .yaml.

    Raises:
        UserError: no such robot, or the file has an error (names file, line or key, found, allowed).
    """
    path = robot_file_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the robot file cannot be read ({error}); correct the path.") from error
    return parse_robot(text, path)


def robot_file_path(name_or_path: str | Path) -> Path:
    """The path of `config/robots/NAME.yaml`, or the one given where it ends in .yaml; the file may be missing there.

    Raises:
        UserError: no robot has that name.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = list_resources("config/robots", ".yaml")
    if str(name_or_path) not in known:
        raise UserError(
            f"There is no robot named {str(name_or_path)!r} in config/robots (allowed: {', '.join(known)}); "
            "name one of these or give the path of a robot file that ends in .yaml."
        )
    return find_resource(f"config/robots/{name_or_path}.yaml")


def parse_robot(text: str, path: Path) -> RobotDescription:
    """Parse a robot file's text; `path` names it in messages and anchors a relative URDF path.

    Raises:
        UserError: the text has an error.
    """
    reader = parse_yaml(text, path)
    urdf = reader.mapping("urdf")
    urdf_path = find_urdf(urdf.text("file"), path)
    urdf_arguments = {key: str(value) for key, value in urdf.mapping("arguments", optional=True).all().items()}
    urdf.finish()
    name = reader.text("name")
    embodiment = reader.text("embodiment")
    base_frame = reader.text("base_frame", default="base_link")
    cameras = _read_cameras(reader)
    state = _read_layout(reader, "state")
    action = _read_layout(reader, "action")
    controllers = _read_controllers(reader)
    rates = _read_rates(reader)
    joints = tuple(entry.joint for entry in action)
    _check_controllers_cover(reader, controllers, joints)
    known = urdf_joint_limits(expand_xacro(urdf_path, urdf_arguments))
    for key, layout in (("state", state), ("action", action)):
        for index, entry in enumerate(layout):
            if entry.joint not in known:
                allowed = f"the moving joints of {urdf_path} are {', '.join(known)}"
                raise reader.error(f"{key}[{index}].joint", repr(entry.joint), allowed)
            if entry.unit != known[entry.joint].unit:
                allowed = f"{entry.joint} of {urdf_path} moves in {known[entry.joint].unit}"
                raise reader.error(f"{key}[{index}].unit", repr(entry.unit), allowed)
    limits = _read_limits(reader, joints, known)
    home = _read_home(reader, joints, limits)
    reader.finish()
    return RobotDescription(
        name=name,
        embodiment=embodiment,
        path=path,
        text=text,
        urdf_path=urdf_path,
        urdf_arguments=urdf_arguments,
        cameras=cameras,
        state=state,
        action=action,
        controllers=controllers,
        rates=rates,
        home=home,
        limits=limits,
        base_frame=base_frame,
    )


def find_urdf(file: str, robot_path: Path) -> Path:
    """The URDF that a robot file names: beside that file, or among the resources.

    Raises:
        UserError: it is in neither place.
    """
    beside = (robot_path.parent / file).resolve()
    if Path(file).is_absolute() or beside.is_file():
        return beside
    try:
        return find_resource(file)
    except UserError as error:
        raise UserError(f"{robot_path}: urdf.file is {file!r}, but {error}") from error


def token_side(width: int, height: int) -> int | None:
    """The first of `IMAGE_MULTIPLES` that divides both sides of an image; None when none does."""
    fitting = (side for side in IMAGE_MULTIPLES if width % side == 0 and height % side == 0)
    return next(fitting, None)


def _read_cameras(reader: MappingReader) -> tuple[Camera, ...]:
    cameras = []
    for entry in reader.mappings("cameras"):
        role = entry.text("role")
        topic = entry.text("topic")
        width, height = entry.integers("size", 2, 16, 8192)
        model_width, model_height = entry.integers("model_size", 2, IMAGE_MULTIPLES[0], 4096)
        if token_side(model_width, model_height) is None:
            allowed = "both have to be multiples of 28 (Qwen2-VL, Qwen2.5-VL) or both of 32 (Qwen3-VL)"
            raise entry.error("model_size", str([model_width, model_height]), allowed)
        cameras.append(
            Camera(
                role=role,
                topic=topic,
                info_topic=entry.text("info_topic", default=f"{topic.rpartition('/')[0]}/camera_info"),
                frame=entry.text("frame"),
                transport=entry.text("transport", allowed=TRANSPORTS, default="raw"),
                width=width,
                height=height,
                rate_hz=entry.number("rate_hz", 0.1, 1000.0),
                model_width=model_width,
                model_height=model_height,
            )
        )
        entry.finish()
        if role in [camera.role for camera in cameras[:-1]]:
            raise entry.error("role", repr(role), "every camera needs a role of its own")
    return tuple(cameras)


def _read_layout(reader: MappingReader, key: str) -> tuple[LayoutEntry, ...]:
    layout = []
    for entry in reader.mappings(key):
        joint = entry.text("joint")
        unit = entry.text("unit", allowed=UNITS)
        relative = entry.boolean("relative", default=False) if key == "action" else False
        entry.finish()
        if joint in [other.joint for other in layout]:
            raise entry.error("joint", repr(joint), "a joint may stand in a layout only once")
        layout.append(LayoutEntry(joint, unit, relative))
    return tuple(layout)


def _read_controllers(reader: MappingReader) -> tuple[Controller, ...]:
    controllers = []
    for entry in reader.mappings("controllers"):
        name = entry.text("name")
        kind = entry.text("type", allowed=CONTROLLER_TYPES)
        controllers.append(Controller(name, kind, entry.texts("joints")))
        entry.finish()
    return tuple(controllers)


def _check_controllers_cover(
    reader: MappingReader, controllers: tuple[Controller, ...], joints: tuple[str, ...]
) -> None:
    claimed: dict[str, str] = {}
    for index, controller in enumerate(controllers):
        for joint in controller.joints:
            key = f"controllers[{index}].joints"
            if joint in claimed:
                raise reader.error(key, repr(joint), f"{claimed[joint]} has this joint already")
            if joint not in joints:
                raise reader.error(key, repr(joint), f"the joints of action are {', '.join(joints)}")
            claimed[joint] = controller.name
    for index, joint in enumerate(joints):
        if joint not in claimed:
            raise reader.error(f"action[{index}].joint", repr(joint), "no controller has this joint")


def _read_rates(reader: MappingReader) -> Rates:
    entry = reader.mapping("rates")
    rates = Rates(
        observation_hz=entry.number("observation_hz", 0.1, 200.0),
        action_hz=entry.number("action_hz", 0.1, 500.0),
        joint_state_hz=entry.number("joint_state_hz", 1.0, 2000.0),
        controller_hz=entry.number("controller_hz", 1.0, 2000.0),
    )
    entry.finish()
    return rates


def _read_limits(reader: MappingReader, joints: tuple[str, ...], known: dict) -> dict[str, JointLimits]:
    section = reader.mapping("limits")
    limits = {}
    for joint in joints:
        urdf = known[joint]
        entry = section.mapping(joint)
        unit = urdf.unit
        lower = entry.number(f"lower_{unit}", urdf.lower, urdf.upper, default=urdf.lower)
        upper = entry.number(f"upper_{unit}", lower, urdf.upper, default=urdf.upper)
        velocity = entry.number(f"velocity_{unit}_s", 1e-6, urdf.velocity or math.inf, default=urdf.velocity)
        limits[joint] = JointLimits(
            lower=lower,
            upper=upper,
            velocity=velocity,
            acceleration=entry.number(f"acceleration_{unit}_s2", 1e-6),
            jerk=entry.number(f"jerk_{unit}_s3", 1e-6),
            unit=unit,
        )
        entry.finish()
        if not velocity > 0.0 or not math.isfinite(velocity):
            allowed = "the URDF gives no velocity limit, so the robot file has to"
            raise section.error(f"{joint}.velocity_{unit}_s", str(velocity), allowed)
    section.finish()
    return limits


def _read_home(reader: MappingReader, joints: tuple[str, ...], limits: dict[str, JointLimits]) -> dict[str, float]:
    entry = reader.mapping("home")
    home = {joint: entry.number(joint, limits[joint].lower, limits[joint].upper) for joint in joints}
    entry.finish()
    return home
