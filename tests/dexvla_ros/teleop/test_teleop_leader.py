"""A leader arm: alignment first, then following; and every doubt about it is a hold."""

import numpy as np
import pytest

from dexvla_ros.teleop.teleop_loop import TeleopState

LEADER = """
device: leader
alignment: {{mode: {mode}, tolerance_rad: 0.1, glide_rad_s: 0.25}}
joints:
  - {{leader: pan, follower: shoulder_pan_joint, unit: deg, sign: -1, offset_rad: 0.2}}
  - {{leader: grip, follower: robotiq_85_left_knuckle_joint, unit: rad, scale: 2.0}}
"""
DEGREES = np.pi / 180.0


class Arm:
    """A leader whose pan joint, in degrees, does what the test says; it reports at 100 Hz."""

    def __init__(self, bench):
        self.bench = bench
        self.names = ["grip", "pan", "unused"]
        self.pan_deg = lambda time_s: self.at_follower_deg()
        self.grip = 0.0
        self.extra = 0.0
        self.silent = False
        bench.every_tick = self._report

    def at_follower_deg(self):
        """Where the leader would have to be for the follower to be where it stands."""
        return -(self.bench.robot.home_positions[0] - 0.2) / DEGREES

    def _report(self):
        if not self.silent:
            now_s = self.bench.clock.now_s
            self.bench.source.on_joint_state(
                self.names, [self.grip, self.pan_deg(now_s), self.extra], now_s
            )


def follower_rad(pan_deg):
    return -pan_deg * DEGREES + 0.2


@pytest.fixture
def make_arm(make_bench, tmp_path):
    def make(mode="glide"):
        path = tmp_path / "leader.yaml"
        path.write_text(LEADER.format(mode=mode))
        return Arm(make_bench("leader", str(path)))

    return make


@pytest.fixture
def arm(make_arm):
    """An arm whose follower follows."""
    arm = make_arm()
    arm.bench.engage().run(0.3)
    return arm


def test_the_follower_glides_to_the_leader_slowly_and_follows_then(make_arm):
    arm = make_arm()
    start = arm.at_follower_deg()
    arm.pan_deg = lambda time_s: start + 30.0
    arm.bench.run(0.3)
    arm.bench.loop.engage()
    arm.bench.run(1.2)
    assert "glides to the leader" in arm.bench.loop.reason
    arm.bench.tracked()
    arm.bench.run(3.0)
    track = arm.bench.tracked()
    assert np.abs(np.diff(track[:, 0])).max() / 0.01 < 0.3
    assert arm.bench.positions[0] == pytest.approx(follower_rad(start + 30.0), abs=0.01)
    np.testing.assert_allclose(track[:, 1:6], np.tile(track[0, 1:6], (len(track), 1)), atol=1e-6)
    arm.grip = 0.1
    arm.bench.run(0.2)
    arm.grip = 0.2
    arm.bench.run(1.0)
    assert arm.bench.positions[6] == pytest.approx(0.4, abs=0.01)


def test_it_follows_a_moving_leader_with_little_delay(arm):
    start_s, start = arm.bench.clock.now_s, arm.at_follower_deg()
    arm.pan_deg = lambda time_s: start + 20.0 * (1.0 - np.cos(2.0 * (time_s - start_s)))
    arm.bench.run(1.0).tracked()
    arm.bench.run(3.0)
    track = arm.bench.tracked()[:, 0]
    times = arm.bench.clock.now_s - np.arange(len(track))[::-1] * 0.01
    delays = np.arange(0.0, 0.3, 0.01)
    misses = [np.abs(track - follower_rad(arm.pan_deg(times - delay))).mean() for delay in delays]
    assert delays[int(np.argmin(misses))] <= 0.1
    assert min(misses) < 0.02
    assert arm.bench.loop.state is TeleopState.MOVING


def test_asked_to_align_it_waits_for_the_leader_to_come_near(make_arm):
    arm = make_arm("ask")
    start = arm.at_follower_deg()
    arm.pan_deg = lambda time_s: start + 30.0
    arm.bench.engage()
    before = arm.bench.positions
    arm.bench.run(1.0)
    np.testing.assert_allclose(arm.bench.positions, before)
    assert "bring the leader's pan nearer: shoulder_pan_joint is 0.52 rad away" in arm.bench.loop.reason
    arm.pan_deg = lambda time_s: start + 4.0
    # A leader that is carried there in an instant has jumped.
    arm.silent = True
    arm.bench.run(0.3)
    arm.silent = False
    arm.bench.loop.engage()
    arm.bench.run(2.5)
    assert arm.bench.positions[0] == pytest.approx(follower_rad(start + 4.0), abs=0.01)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda arm: setattr(arm, "silent", True), "the leader's joint_states are 0.2"),
        (lambda arm: setattr(arm, "grip", float("nan")), "the joint grip has the value nan"),
        (lambda arm: setattr(arm, "names", ["grip", "pen", "unused"]), "the joint pan is missing"),
        (lambda arm: setattr(arm, "names", ["pan", "pan", "grip"]), "came twice"),
        (lambda arm: setattr(arm, "grip", 0.5), "the leader's grip jumped by 1.000 rad"),
        (lambda arm: setattr(arm, "grip", 100.0), "grip is 100, which cannot be in rad"),
    ],
)
def test_a_leader_that_cannot_be_relied_on_is_a_hold_until_engaged_again(arm, fault, words):
    start_s, start = arm.bench.clock.now_s, arm.at_follower_deg()
    arm.pan_deg = lambda time_s: start + 10.0 * (time_s - start_s)
    arm.bench.run(0.6)
    fault(arm)
    arm.bench.run(1.0)
    assert arm.bench.loop.state is TeleopState.HOLDING
    assert words in arm.bench.loop.reason
    rest = arm.bench.positions
    arm.silent, arm.grip, arm.names = False, 0.0, ["grip", "pan", "unused"]
    arm.bench.run(0.5)
    np.testing.assert_allclose(arm.bench.positions, rest, atol=1e-9)
    assert arm.bench.loop.state is TeleopState.HOLDING
    arm.bench.loop.engage()
    arm.bench.run(1.5)
    assert arm.bench.loop.state is TeleopState.MOVING


def test_without_a_leader_it_holds_and_says_so(make_arm):
    arm = make_arm()
    arm.silent = True
    arm.bench.run(0.3)
    arm.bench.loop.engage()
    arm.bench.run(1.0)
    assert arm.bench.loop.state is TeleopState.HOLDING
    assert "no joint_states of the leader have come on leader/joint_states" in arm.bench.loop.reason


def test_a_leader_beyond_the_followers_limit_leads_it_to_the_limit(arm):
    arm.grip = 0.14
    arm.bench.run(0.3)
    for _ in range(5):
        arm.grip += 0.1
        arm.bench.run(0.3)
    arm.bench.run(0.7)
    assert arm.bench.positions[6] == pytest.approx(
        arm.bench.robot.limits["robotiq_85_left_knuckle_joint"].upper, abs=5e-3
    )
    assert "robotiq_85_left_knuckle_joint is at its limit" in arm.bench.loop.reason
