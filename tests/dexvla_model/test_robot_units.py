"""Joints that slide: metres in the robot file, in its messages and in the limiter."""

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import JointLimits, load_robot, parse_robot
from dexvla_model.streaming.limiter import MotionLimiter
from dexvla_model.streaming.plan import KNOT_S, MotionPlan

FR3 = load_robot("fr3")
FINGER = "fr3_finger_joint1"


def changed(old: str, new: str):
    assert old in FR3.text
    return parse_robot(FR3.text.replace(old, new, 1), FR3.path)


def test_a_sliding_joint_is_limited_in_metres():
    limits = FR3.limits[FINGER]
    assert limits == JointLimits(0.0, 0.04, 0.2, 1.0, 10.0, "m")
    assert FR3.limits["fr3_joint1"].unit == "rad"
    assert FR3.home[FINGER] == 0.04


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"{{joint: {FINGER}, unit: m}}", f"{{joint: {FINGER}, unit: rad}}",
         ["state[7].unit", "'rad'", "moves in m"]),
        ("{joint: fr3_joint1, unit: rad, relative: true}", "{joint: fr3_joint1, unit: m, relative: true}",
         ["action[0].unit", "'m'", "moves in rad"]),
        ("acceleration_m_s2: 1.0", "acceleration_rad_s2: 1.0", ["acceleration_m_s2", "missing"]),
        ("acceleration_m_s2: 1.0", "velocity_m_s: 0.3, acceleration_m_s2: 1.0", ["velocity_m_s", "0.3", "0.2"]),
        (f"  {FINGER}: 0.04", f"  {FINGER}: 0.4", [f"home.{FINGER}", "0.4", "0.04"]),
    ],
)  # fmt: skip
def test_a_wrong_unit_is_named_with_the_right_one(old, new, expected):
    with pytest.raises(UserError) as caught:
        changed(old, new)
    message = str(caught.value)
    assert str(FR3.path) in message and "\n" not in message
    for part in expected:
        assert part in message


def test_the_limiter_treats_metres_like_radians():
    """The same motion in another unit: a thousandth of everything."""
    limits = (JointLimits(0.0, 40.0, 200.0, 1000.0, 10000.0), JointLimits(0.0, 0.04, 0.2, 1.0, 10.0, "m"))
    moved = []
    for limit, scale in zip(limits, (1.0, 0.001)):
        limiter = MotionLimiter([limit])
        plan = MotionPlan.at_rest(np.array([40.0 * scale]), 0)
        reference = np.full((limiter.window, 1), 5.0 * scale)
        motion = limiter.follow(plan, 5, reference)
        assert not motion.failed
        moved.append(motion.plan.positions(np.arange(80) * KNOT_S)[:, 0] / scale)
    assert moved[1] == pytest.approx(moved[0], abs=0.02)
    assert moved[1][-1] == pytest.approx(5.0, abs=0.5)
