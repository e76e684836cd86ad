"""The MuJoCo world: the robot from its own URDF, and a table, lights, cameras and a task's objects."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot import Camera, RobotDescription
from dexvla_sim.engine import mujoco
from dexvla_sim.tasks.task import Task

# The physics steps this often at least; a faster controller makes it step with the controller.
LONGEST_TIMESTEP_S = 0.002

# A servo gives its full effort at this error, which makes it as accurate as an industrial arm's; of a joint that turns
# in rad, of one that slides in m.
SERVO_FULL_EFFORT_ERROR_RAD = 0.01
SERVO_FULL_EFFORT_ERROR_M = 0.001
# Inertia of motor and gear at the joint, per effort: keeps light joints as slow as the timestep can follow.
# kg m^2 per N m, or kg per N.
SERVO_INERTIA_PER_EFFORT = 0.0015

COLLISION_GROUP = 3  # not drawn
TABLE_RGBA = (0.78, 0.74, 0.67, 1.0)
FLOOR_RGBA = (0.42, 0.46, 0.50, 1.0)
TABLE_CENTRE_M = (0.30, 0.0)
TABLE_HALF_EXTENTS_M = (0.55, 0.60)
TABLE_HEIGHT_M = 0.75


def robot_spec(robot: RobotDescription) -> mujoco.MjSpec:
    """The robot's URDF as an editable MuJoCo model; frames survive, mimic joints are equality constraints.

    Raises:
        UserError: MuJoCo cannot read the URDF.
    """
    root = ElementTree.fromstring(robot.urdf_xml())
    options = ElementTree.SubElement(ElementTree.SubElement(root, "mujoco"), "compiler")
    options.attrib.update(fusestatic="false", discardvisual="false", strippath="false")
    try:
        return mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    except ValueError as error:
        raise UserError(
            f"{robot.urdf_path}: MuJoCo cannot read the URDF ({error}); mend it there."
        ) from error


def build_world(robot: RobotDescription, task: Task) -> mujoco.MjModel:
    """Compile the world of a robot and a task. Actuators stand in the order of the robot's action vector.

    Raises:
        UserError: MuJoCo cannot read the robot's URDF, or a camera's frame or opening angle is not in it.
    """
    spec = robot_spec(robot)
    spec.option.timestep = 1.0 / (robot.rates.controller_hz * steps_per_update(robot))
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    # Objects at rest cost nothing until something touches them.
    spec.option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    # A state that is not finite stays visible instead of becoming a silent reset.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    _prepare_robot(spec)
    _add_surroundings(spec)
    _add_cameras(spec, robot)
    task.build(spec)
    _add_servos(spec, robot)
    model = spec.compile()
    _damp_servos(model, robot)
    return model


def steps_per_update(robot: RobotDescription) -> int:
    """Physics steps from one update of the controllers to the next."""
    return math.ceil(1.0 / (robot.rates.controller_hz * LONGEST_TIMESTEP_S) - 1e-9)


def home_qpos(model: mujoco.MjModel, robot: RobotDescription) -> np.ndarray:
    """(nq,) the model's default positions with the robot at home."""
    qpos = model.qpos0.copy()
    set_joints(model, qpos, robot.action_joints, robot.home_positions)
    return qpos


def set_joints(
    model: mujoco.MjModel, qpos: np.ndarray, joints: Sequence[str], positions: Sequence[float]
) -> None:
    """Write `positions` (rad or m) of `joints` into `qpos` (nq,), and those of the joints that mimic them."""
    for joint, position in zip(joints, positions):
        qpos[model.joint(joint).qposadr] = position
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_JOINT:
            follower, leader = model.eq_obj1id[index], model.eq_obj2id[index]
            value = np.polynomial.polynomial.polyval(
                qpos[model.jnt_qposadr[leader]], model.eq_data[index, :5]
            )
            qpos[model.jnt_qposadr[follower]] = value


def _prepare_robot(spec: mujoco.MjSpec) -> None:
    """Cancel the arm's gravity, let its shapes not meet each other, and set the pads' friction."""
    for body in spec.bodies:
        if body.name != "world":
            body.gravcomp = 1.0
    for geom in spec.geoms:
        if geom.contype:
            # Robot geoms meet the world's (contype 1) but not each other.
            geom.contype, geom.conaffinity = 0, 1
            geom.group = COLLISION_GROUP
            if geom.name.endswith("_pad"):
                geom.condim, geom.priority = 4, 1
                geom.friction = [1.2, 0.02, 0.0001]
                # A pad gives way by less than half a millimetre at full force; MuJoCo's default, by five.
                geom.solref = [2.0 * spec.option.timestep, 1.0]
                geom.solimp = [0.95, 0.99, 0.001, 0.5, 2.0]
    for equality in spec.equalities:
        # As stiff as a linkage of metal; a constraint's stiffness grows with the inertia that it moves.
        equality.solref = [2.0 * spec.option.timestep, 1.0]
        equality.solimp = [0.99, 0.999, 0.001, 0.5, 2.0]
        follower = spec.joint(equality.name1)
        follower.armature = SERVO_INERTIA_PER_EFFORT * float(follower.actfrcrange[1])


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    world, box = spec.worldbody, mujoco.mjtGeom.mjGEOM_BOX
    (x, y), (half_x, half_y), half_height = TABLE_CENTRE_M, TABLE_HALF_EXTENTS_M, TABLE_HEIGHT_M / 2
    world.add_geom(
        name="table",
        type=box,
        pos=(x, y, -0.02),
        size=(half_x, half_y, 0.02),
        rgba=TABLE_RGBA,
        friction=[0.8, 0.01, 1e-4],
    )
    world.add_geom(
        name="table_leg",
        type=box,
        pos=(x, y, -0.02 - half_height),
        size=(half_x * 0.6, half_y * 0.6, half_height - 0.02),
        rgba=(0.35, 0.36, 0.38, 1.0),
        contype=0,
        conaffinity=0,
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=(0, 0, -TABLE_HEIGHT_M),
        size=(4, 4, 1),
        rgba=FLOOR_RGBA,
    )
    world.add_light(
        name="key_light", pos=(0.9, 0.8, 2.0), dir=(-0.3, -0.4, -1.0), diffuse=[0.42] * 3, castshadow=False
    )
    world.add_light(
        name="fill_light", pos=(0.3, -1.0, 1.8), dir=(0.1, 0.5, -1.0), diffuse=[0.20] * 3, castshadow=False
    )
    for light in spec.lights:
        light.specular = [0.1] * 3
        light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.visual.headlight.ambient = [0.34] * 3
    spec.visual.headlight.diffuse = [0.15] * 3
    spec.visual.headlight.specular = [0.0] * 3
    # Anti-aliasing and shadows cost more than ten times the rest of a picture where no GPU is.
    spec.visual.quality.offsamples = 0


def _add_cameras(spec: mujoco.MjSpec, robot: RobotDescription) -> None:
    opening_angles = _horizontal_fov(robot.urdf_xml())
    for camera in robot.cameras:
        body = spec.body(camera.frame)
        if body is None:
            raise UserError(
                f"{robot.path}: the camera {camera.role} has the frame {camera.frame!r}, "
                f"but {robot.urdf_path} has no such link; correct the frame or add the link."
            )
        if camera.frame not in opening_angles:
            raise UserError(
                f"{robot.urdf_path}: nothing says how wide the camera at {camera.frame} sees; add a "
                "gazebo sensor of type camera with a horizontal_fov (rad) for that link or its parent, as in "
                "urdf/macros/camera.xacro."
            )
        # MuJoCo's camera looks along -z with y up; an optical frame (REP-103) looks along z with y down.
        body.add_camera(
            name=camera.role,
            quat=(0.0, 1.0, 0.0, 0.0),
            fovy=math.degrees(vertical_fov(camera, opening_angles[camera.frame])),
        )


def vertical_fov(camera: Camera, horizontal_fov_rad: float) -> float:
    """Opening angle over the image's height, in rad, of a camera with square pixels."""
    return 2.0 * math.atan(math.tan(horizontal_fov_rad / 2.0) * camera.height / camera.width)


def _horizontal_fov(urdf_xml: str) -> dict[str, float]:
    """Opening angles (rad) of the URDF's camera sensors, by their link and by its fixed children."""
    root = ElementTree.fromstring(urdf_xml)
    angles = {}
    for gazebo in root.iter("gazebo"):
        for sensor in gazebo.iter("sensor"):
            angle = sensor.findtext("camera/horizontal_fov")
            if angle is not None:
                angles[gazebo.get("reference", "")] = float(angle)
    for joint in root.iter("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        if joint.get("type") == "fixed" and parent is not None and child is not None:
            if parent.get("link") in angles:
                angles.setdefault(child.get("link", ""), angles[parent.get("link", "")])
    return angles


def _add_servos(spec: mujoco.MjSpec, robot: RobotDescription) -> None:
    """A position servo for every action joint; its force limit is the URDF's effort."""
    for name in robot.action_joints:
        joint = spec.joint(name)
        effort = float(joint.actfrcrange[1])
        if effort <= 0.0:
            raise UserError(
                f"{robot.urdf_path}: the joint {name} has no effort limit; add one to its limit tag."
            )
        joint.armature = SERVO_INERTIA_PER_EFFORT * effort
        slides = joint.type == mujoco.mjtJoint.mjJNT_SLIDE
        error = SERVO_FULL_EFFORT_ERROR_M if slides else SERVO_FULL_EFFORT_ERROR_RAD
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=effort / error, kv=1.0)
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-effort, effort]


def _damp_servos(model: mujoco.MjModel, robot: RobotDescription) -> None:
    """Damp every servo critically for the inertia that it sees at home, mimicking joints included."""
    data = mujoco.MjData(model)
    data.qpos[:] = home_qpos(model, robot)
    mujoco.mj_forward(model, data)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    inertia = mass.diagonal().copy()
    for index in range(model.neq):
        follower, leader = model.eq_obj1id[index], model.eq_obj2id[index]
        ratio = model.eq_data[index, 1]
        inertia[model.jnt_dofadr[leader]] += (
            ratio**2 * mass[model.jnt_dofadr[follower], model.jnt_dofadr[follower]]
        )
    for index in range(model.nu):
        stiffness = model.actuator_gainprm[index, 0]
        damping = 2.0 * math.sqrt(stiffness * inertia[model.jnt_dofadr[model.actuator_trnid[index, 0]]])
        model.actuator_biasprm[index, 2] = -damping
