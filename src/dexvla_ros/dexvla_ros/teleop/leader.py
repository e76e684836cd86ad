"""A leader arm: another robot's joint_states, mapped onto the joints of this one."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.observation import InvalidObservation, select_joints
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming.plan import KNOT_S
from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.teleop.source import Moment, Wish

UNITS = {"rad": 1.0, "deg": math.pi / 180.0, "m": 1.0}
# A joint that turns further than this in rad is given in another unit.
_TURNS_MAX_RAD = 4.0 * math.pi
# The leader's velocity is the slope of its positions over this time.
_SLOPE_S = 0.1
# Rows reach so far beyond the commit point, and the leader's motion is continued for so long.
_ROWS_KNOTS = 12
_EXTRAPOLATED_S = 0.15
_VELOCITY_SHARE = 0.9
# Aligned when the reference has come so near.
_ARRIVED_RAD = 0.02
_LIMIT_MARGIN_RAD = 0.002


@dataclass(frozen=True)
class JointMapping:
    """follower = sign * scale * leader + offset, the leader being in `unit`; of a sliding follower in m."""

    leader: str
    follower: str
    scale: float
    sign: float
    offset_rad: float
    unit: str


@dataclass(frozen=True)
class LeaderConfig:
    """config/teleop/leader.yaml.

    Attributes:
        topic: of the leader's sensor_msgs/JointState.
        joints: one mapping for each follower joint that is led; the others stay.
        alignment: `glide` = the follower goes to the leader slowly; `ask` = the human brings the leader
            within `tolerance_rad` of the follower first. glide_rad_s: velocity of that.
        stale_s: no message for so long is a hold. jump_rad: so is a step from one message to the next.
    """

    topic: str
    joints: tuple[JointMapping, ...]
    alignment: str
    tolerance_rad: float
    glide_rad_s: float
    glide_m_s: float
    stale_s: float
    jump_rad: float


def read_leader(reader: MappingReader, robot: RobotDescription) -> LeaderConfig:
    """Read a leader file.

    Raises:
        UserError: a key, a joint, a unit or a number is wrong.
    """
    joints: list[JointMapping] = []
    for entry in reader.mappings("joints"):
        mapping = JointMapping(
            leader=entry.text("leader"),
            follower=entry.text("follower", allowed=robot.action_joints),
            scale=entry.number("scale", 1e-3, 1e3, 1.0),
            sign=entry.number("sign", -1.0, 1.0, 1.0),
            offset_rad=entry.number("offset_rad", -_TURNS_MAX_RAD, _TURNS_MAX_RAD, 0.0),
            unit=entry.text("unit", allowed=tuple(UNITS)),
        )
        if abs(mapping.sign) != 1.0:
            raise entry.error("sign", f"{mapping.sign:g}", "allowed are 1 and -1")
        slides = robot.limits[mapping.follower].unit == "m"
        if slides != (mapping.unit == "m") and not entry.has("scale"):
            own = "m" if slides else "rad"
            allowed = f"{mapping.follower} is in {own}: a scale between the two is needed"
            raise entry.error("unit", repr(mapping.unit), allowed)
        if mapping.follower in [other.follower for other in joints]:
            raise entry.error("follower", repr(mapping.follower), "a joint may follow only one leader")
        joints.append(mapping)
        entry.finish()
    section = reader.mapping("alignment", optional=True)
    config = LeaderConfig(
        topic=reader.text("topic", default="leader/joint_states"),
        joints=tuple(joints),
        alignment=section.text("mode", allowed=("glide", "ask"), default="glide"),
        tolerance_rad=section.number("tolerance_rad", 0.01, 1.0, 0.1),
        glide_rad_s=section.number("glide_rad_s", 0.01, 1.0, 0.25),
        glide_m_s=section.number("glide_m_s", 0.001, 0.5, 0.05),
        stale_s=reader.number("stale_s", 0.05, 2.0, 0.25),
        jump_rad=reader.number("jump_rad", 0.01, 3.0, 0.3),
    )
    section.finish()
    reader.finish()
    return config


class Leader:
    """A `TeleopSource` that follows a leader's joints; every doubt about them lasts until the next start."""

    device = "leader"
    mode = "leader"
    speed = 1.0

    def __init__(self, config: LeaderConfig, robot: RobotDescription) -> None:
        self.config = config
        self.note = ""
        self._columns = np.array([robot.action_joints.index(joint.follower) for joint in config.joints])
        limits = [robot.limits[joint.follower] for joint in config.joints]
        self._lower = np.array([limit.lower for limit in limits]) + _LIMIT_MARGIN_RAD
        self._upper = np.array([limit.upper for limit in limits]) - _LIMIT_MARGIN_RAD
        self._velocity = _VELOCITY_SHARE * np.array([limit.velocity for limit in limits])
        sliding = np.array([limit.unit == "m" for limit in limits])
        self._glide = np.where(sliding, config.glide_m_s, config.glide_rad_s)
        self._factors = np.array([j.sign * j.scale * UNITS[j.unit] for j in config.joints])
        self._offsets = np.array([joint.offset_rad for joint in config.joints])
        self._samples: deque[tuple[float, np.ndarray]] = deque()
        self._problem = ""
        self._aligned = False
        self._first = 0
        self._reference: np.ndarray | None = None

    def on_joint_state(self, names: Sequence[str], positions: Sequence[float], now_s: float) -> None:
        """Take the leader's joints, received at `now_s`."""
        try:
            values = select_joints(names, positions, [joint.leader for joint in self.config.joints])
        except InvalidObservation as error:
            self._fail(f"the leader's joint_states cannot be used: {error}")
            return
        radians = np.abs(values) * np.array([UNITS[joint.unit] for joint in self.config.joints])
        joint = int(np.argmax(radians))
        if radians[joint] > _TURNS_MAX_RAD:
            mapping = self.config.joints[joint]
            value = f"{values[joint]:.4g}"
            self._fail(f"the leader's {mapping.leader} is {value}, which cannot be in {mapping.unit}")
            return
        target = self._factors * values + self._offsets
        if self._samples:
            jump = np.abs(target - self._samples[-1][1])
            joint = int(np.argmax(jump))
            if jump[joint] > self.config.jump_rad and now_s - self._samples[-1][0] <= self.config.stale_s:
                self._fail(f"the leader's {self.config.joints[joint].leader} jumped by {jump[joint]:.3f} rad")
        self._samples.append((now_s, target))
        while self._samples[0][0] < now_s - _SLOPE_S:
            self._samples.popleft()

    def start(self, positions: np.ndarray, now_s: float) -> None:
        self._problem = ""
        self._aligned = False
        self._first = 0
        self._reference = np.array(positions)[None]
        self.note = ""

    def problem(self, now_s: float) -> str:
        if not self._samples:
            return self._problem or f"no joint_states of the leader have come on {self.config.topic}"
        age_s = now_s - self._samples[-1][0]
        if age_s > self.config.stale_s:
            self._fail(f"the leader's joint_states are {age_s:.2f} s old")
        return self._problem

    def wishes(self) -> list[Wish]:
        return []

    def rows(self, moment: Moment) -> np.ndarray | None:
        if self._reference is None or not self._samples:
            return None
        knots = np.arange(moment.first, moment.commit + _ROWS_KNOTS + 1)
        index = np.clip(knots - self._first, 0, len(self._reference) - 1)
        rows = self._reference[index]
        begin = moment.commit - moment.first
        wanted = self._predicted((moment.commit + 1 + np.arange(_ROWS_KNOTS)) * KNOT_S)
        limited = np.clip(wanted, self._lower, self._upper)
        outside = int(np.argmax(np.abs(limited[0] - wanted[0])))
        self.note = (
            f"{self.config.joints[outside].follower} is at its limit"
            if limited[0, outside] != wanted[0, outside]
            else ""
        )
        here = rows[begin, self._columns]
        if not self._aligned and not self._align(here, limited[0]):
            return None
        most = KNOT_S * (self._velocity if self._aligned else self._glide)
        for step in range(_ROWS_KNOTS):
            here = here + np.clip(limited[step] - here, -most, most)
            rows[begin + 1 + step :, self._columns] = here
        self._first, self._reference = moment.first, rows
        return rows

    def _align(self, here: np.ndarray, wanted: np.ndarray) -> bool:
        """Whether the follower may move; sets `note`, and whether it is aligned."""
        away = np.abs(wanted - here)
        joint = int(np.argmax(away))
        mapping = self.config.joints[joint]
        if self.config.alignment == "ask":
            if away[joint] > self.config.tolerance_rad:
                self.note = (
                    f"bring the leader's {mapping.leader} nearer: {mapping.follower} is "
                    f"{away[joint]:.2f} rad away, allowed are {self.config.tolerance_rad:g} rad"
                )
                return False
            # The rest of the way is a glide too.
        self._aligned = bool(away[joint] <= _ARRIVED_RAD)
        if not self._aligned:
            self.note = f"glides to the leader: {mapping.follower} is {away[joint]:.2f} rad away"
        return True

    def _predicted(self, times_s: np.ndarray) -> np.ndarray:
        """(N, J) rad at (N,) times: a line through the newest samples, continued for a short time."""
        stamps = np.array([stamp for stamp, _ in self._samples])
        values = np.stack([target for _, target in self._samples])
        newest, at = values[-1], stamps - stamps[-1]
        spread = float(at @ at - at.sum() ** 2 / len(at))
        if len(at) < 3 or spread <= 0.0:
            return np.tile(newest, (len(times_s), 1))
        slope = (at - at.mean()) @ (values - values.mean(axis=0)) / spread
        ahead = np.clip(times_s - stamps[-1], 0.0, _EXTRAPOLATED_S)[:, None]
        return newest + slope * ahead

    def _fail(self, reason: str) -> None:
        self._problem = self._problem or reason
