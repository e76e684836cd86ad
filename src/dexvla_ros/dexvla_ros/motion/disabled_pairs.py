"""Which pairs of links need no check for collision, found by looking at many random postures."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.robot.moveit import NEVER, load_semantics
from dexvla_ros.motion.bodies import RobotBodies, robot_urdf_with_table

ADJACENT = "Adjacent"
ALWAYS = "Always"
# In collision in the home pose, so by shapes that are drawn too large.
DEFAULT = "Default"
# Two links of the same hand: fingers close on each other.
HAND = "Hand"
_SAMPLES = 2000
# A pair that touches in this share of all postures does so because of its shapes.
_ALWAYS_SHARE = 0.95


def disabled_pairs(
    robot: RobotDescription, compliant: tuple[str, ...], samples: int = _SAMPLES
) -> dict[frozenset[str], str]:
    """Reason by pair of link names: adjacent, of one hand, in collision always or at home, or never.

    Args:
        compliant: names of the controllers whose joints close on things.
        samples: random postures within the limits.
    """
    everything = RobotBodies(robot)
    linked = _adjacent(everything, robot)
    hands = _hands(everything, robot, compliant)
    reasons: dict[frozenset[str], str] = {}
    for pair in everything.pairs:
        key = frozenset((pair.first, pair.second))
        if key in linked:
            reasons[key] = ADJACENT
        elif any(key <= hand for hand in hands):
            reasons[key] = HAND
    bodies = RobotBodies(robot, disabled=reasons)
    random = np.random.default_rng(0)
    # Where a joint turns further than a full circle, one circle shows everything.
    lower = np.array([max(robot.limits[joint].lower, -np.pi) for joint in robot.action_joints])
    upper = np.array([min(robot.limits[joint].upper, np.pi) for joint in robot.action_joints])
    touched = np.zeros(len(bodies.pairs))
    for _ in range(samples):
        touched += bodies.contacts(random.uniform(lower, upper))
    at_home = bodies.contacts(robot.home_positions)
    shares: dict[frozenset[str], float] = {}
    home: set[frozenset[str]] = set()
    for pair, count, now in zip(bodies.pairs, touched / samples, at_home):
        key = frozenset((pair.first, pair.second))
        shares[key] = max(shares.get(key, 0.0), float(count))
        if now:
            home.add(key)
    for key, share in shares.items():
        if share >= _ALWAYS_SHARE:
            reasons[key] = ALWAYS
        elif key in home:
            reasons[key] = DEFAULT
        elif share == 0.0:
            reasons[key] = NEVER
    return reasons


def unchecked_pairs(robot: RobotDescription, compliant: tuple[str, ...]) -> frozenset[frozenset[str]]:
    """Pairs that may touch: by the robot's SRDF, or, where it has none, found by a shorter look.

    Raises:
        UserError: the SRDF cannot be read.
    """
    semantics = load_semantics(robot)
    if semantics is not None:
        return semantics.not_checked()
    found = disabled_pairs(robot, compliant, samples=300)
    return frozenset(pair for pair, reason in found.items() if reason != NEVER)


def _adjacent(bodies: RobotBodies, robot: RobotDescription) -> set[frozenset[str]]:
    """Pairs of links, with all that is fixed to each, that one moving joint joins."""
    model = bodies.model
    carried: dict[int, list[str]] = {}
    for frame in model.frames:
        if frame.name in bodies.links:
            carried.setdefault(frame.parentJoint, []).append(frame.name)
    return {
        frozenset((one, other))
        for joint in range(1, model.njoints)
        for one in carried.get(joint, [])
        for other in carried.get(model.parents[joint], [])
        # Tables and the like are fixed to the root: the first link stands on them, the second keeps off.
        if model.parents[joint] != 0 or _is_neighbour(one, other, robot)
    }


def _is_neighbour(one: str, other: str, robot: RobotDescription) -> bool:
    """Whether a moving joint joins two links directly, or through links that are fixed and have no shape."""
    root = ElementTree.fromstring(robot_urdf_with_table(robot))
    parent, fixed = {}, set()
    for joint in root.findall("joint"):
        child = joint.find("child").get("link")
        parent[child] = joint.find("parent").get("link")
        if joint.get("type") == "fixed":
            fixed.add(child)
    for child, ancestor in ((one, other), (other, one)):
        while child in fixed:
            child = parent[child]
        above = parent.get(child)
        while above is not None and above != ancestor and above in fixed:
            above = parent.get(above)
        if above == ancestor:
            return True
    return False


def _hands(bodies: RobotBodies, robot: RobotDescription, compliant: tuple[str, ...]) -> list[frozenset[str]]:
    """For each hand the links that its joints carry, and those that carry it."""
    model = bodies.model
    hands = []
    for controller in robot.controllers:
        if controller.name not in compliant:
            continue
        columns = [robot.action_joints.index(joint) for joint in controller.joints]
        moved = {
            joint
            for joint in range(1, model.njoints)
            if np.any(bodies.spread[model.idx_qs[joint], columns] != 0.0)
        }
        held = moved | {model.parents[joint] for joint in moved}
        held.discard(0)
        hands.append(frozenset(frame.name for frame in model.frames if frame.parentJoint in held))
    return hands
