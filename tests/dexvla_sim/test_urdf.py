"""The UR5e's URDF: it expands, parses, and has the published kinematics."""

import io
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yourdfpy

# Standard DH parameters of the UR5e (a m, d m, alpha rad), published by Universal Robots.
DH = (
    (0.0, 0.1625, math.pi / 2),
    (-0.425, 0.0, 0.0),
    (-0.3922, 0.0, 0.0),
    (0.0, 0.1333, math.pi / 2),
    (0.0, 0.0997, -math.pi / 2),
    (0.0, 0.0996, 0.0),
)
ARM = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
KNUCKLE = "robotiq_85_left_knuckle_joint"


@pytest.fixture(scope="module")
def urdf(robot) -> yourdfpy.URDF:
    return yourdfpy.URDF.load(io.StringIO(robot.urdf_xml()), load_meshes=False)


def pose(
    urdf: yourdfpy.URDF, arm, frame: str, parent: str = "base_link", knuckle_rad: float = 0.0
) -> np.ndarray:
    urdf.update_cfg(np.array([*arm, knuckle_rad], dtype=np.float64))
    return urdf.get_transform(frame, parent)


def dh_pose(arm) -> np.ndarray:
    result = np.diag([-1.0, -1.0, 1.0, 1.0])  # DH counts from the vendor's `base`, half a turn from base_link
    for angle, (a, d, alpha) in zip(arm, DH):
        ct, st, ca, sa = math.cos(angle), math.sin(angle), math.cos(alpha), math.sin(alpha)
        result = result @ np.array(
            [
                [ct, -st * ca, st * sa, a * ct],
                [st, ct * ca, -ct * sa, a * st],
                [0.0, sa, ca, d],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return result


def test_a_urdf_parser_accepts_it_and_finds_seven_free_joints(urdf):
    assert urdf.validate() and not urdf.errors
    assert tuple(urdf.actuated_joint_names) == (*ARM, KNUCKLE)


@pytest.mark.parametrize(
    ("arm", "position"),
    [
        ((0, 0, 0, 0, 0, 0), (0.8172, 0.2329, 0.0628)),
        ((0, -1.5707, 0, -1.5707, 0, 0), (0.0001, 0.2329, 1.0794)),
        ((0, -math.pi / 2, math.pi / 2, -math.pi / 2, -math.pi / 2, 0), (0.4919, 0.1333, 0.4879)),
    ],
)
def test_tool0_stands_at_the_published_check_values(urdf, arm, position):
    assert pose(urdf, arm, "tool0")[:3, 3] == pytest.approx(position, abs=1e-4)


def test_tool0_follows_the_dh_table_at_random_configurations(urdf):
    generator = np.random.default_rng(0)
    for arm in generator.uniform(-math.pi, math.pi, (20, 6)):
        assert np.allclose(pose(urdf, arm, "tool0"), dh_pose(arm), atol=1e-6)


def test_limits_are_the_published_ones(robot):
    assert [robot.limits[joint].velocity for joint in ARM] == pytest.approx([math.pi] * 6)
    assert robot.limits["elbow_joint"].upper == pytest.approx(math.pi)
    assert robot.limits["shoulder_pan_joint"].lower == pytest.approx(-2 * math.pi)
    assert (robot.limits[KNUCKLE].lower, robot.limits[KNUCKLE].upper) == (0.0, 0.8)


def test_the_arm_weighs_what_the_vendor_says(robot):
    masses = {
        link.get("name"): float(link.find("inertial/mass").get("value"))
        for link in ElementTree.fromstring(robot.urdf_xml()).iter("link")
        if link.find("inertial") is not None
    }
    arm = [name for name in masses if not name.startswith("robotiq")]
    assert sum(masses[name] for name in arm) == pytest.approx(21.7)


@pytest.mark.parametrize(("knuckle_rad", "opening_m"), [(0.0, 0.085), (0.7929, 0.0)])
def test_the_pads_open_85_mm_and_close(urdf, knuckle_rad, opening_m):
    tips = [
        pose(urdf, [0.0] * 6, f"robotiq_85_{side}_finger_tip_link", "robotiq_85_base_link", knuckle_rad)
        for side in ("left", "right")
    ]
    pad_face_m = 0.0253
    assert tips[0][0, 3] - tips[1][0, 3] - 2 * pad_face_m == pytest.approx(opening_m, abs=1e-3)
    assert np.allclose([tip[:3, :3] for tip in tips], np.eye(3), atol=1e-9)  # the fingertips stay parallel


@pytest.mark.parametrize("camera", ["scene", "wrist"])
def test_optical_frames_look_along_z_with_y_down(urdf, camera):
    turn = pose(urdf, [0.0] * 6, f"{camera}_camera_optical_frame", f"{camera}_camera_link")[:3, :3]
    # Columns: the optical axes in the camera's body frame (x forward, y left, z up).
    assert np.allclose(turn, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-9)


def test_the_wrist_camera_sees_both_fingertips(urdf):
    for side in ("left", "right"):
        x, y, z = pose(urdf, [0.0] * 6, f"robotiq_85_{side}_finger_tip_link", "wrist_camera_optical_frame")[
            :3, 3
        ]
        assert z > 0.05 and abs(x / z) < math.tan(1.45 / 2) and abs(y / z) < 0.75 * math.tan(1.45 / 2)
