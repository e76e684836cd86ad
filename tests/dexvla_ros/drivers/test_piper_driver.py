"""The Piper's driver on a CAN bus with a simulated arm: units, order, lost and wrong frames, faults."""

import math
import struct
import uuid
from time import sleep

import can
import numpy as np
import pytest

from dexvla_ros.drivers import piper
from dexvla_ros.drivers import piper_protocol as protocol
from dexvla_ros.drivers.piper import Piper, PiperSettings
from simulated_piper import SimulatedPiper

JOINTS = tuple(f"joint{number}" for number in range(1, 8))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(piper, "_CONNECT_TIMEOUT_S", 0.1)


@pytest.fixture
def channel():
    return f"can_{uuid.uuid4().hex}"


@pytest.fixture
def start_arm(channel):
    arms = []

    def start(**state):
        arms.append(SimulatedPiper(channel, **state))
        return arms[-1]

    yield start
    for arm in arms:
        arm.stop()


@pytest.fixture
def make(make_rig, channel):
    return lambda *changes: make_rig(
        "piper", "agilex_piper", channel, (("interface: socketcan", "interface: virtual"), *changes)
    )


def until_quiet(arm):
    """Wait until the arm has taken all that was sent to it."""
    taken = -1
    while taken != len(arm.received):
        taken = len(arm.received)
        sleep(0.2)


def turn(rig, command, seconds=0.3):
    for _ in range(int(seconds / 0.01)):
        rig.command(command)
        state = rig.driver.step()
        sleep(0.01)
    return state


@pytest.mark.parametrize("position_rad", [0.0, 1.0, -1.0, math.pi, -2.617, 1e-5])
def test_angles_survive_the_way_to_millidegrees_and_back(position_rad):
    value = protocol.millidegrees(position_rad)
    assert protocol.radians(value) == pytest.approx(position_rad, abs=math.radians(0.0005) * 1.001)
    assert value == pytest.approx(position_rad * 57295.7795, abs=0.51)


def test_frames_are_those_of_the_vendors_package():
    frames = protocol.encode_joints(np.radians([1.0, -90.0, 0.0, 0.0, 0.0, 120.0]))
    assert [identifier for identifier, _ in frames] == [0x155, 0x156, 0x157]
    assert frames[0][1] == bytes.fromhex("000003e8fffea070")
    assert struct.unpack(">ii", frames[2][1]) == (0, 120_000)
    # 35 mm of one finger are 70 mm of opening; 1.5 Nm.
    assert protocol.encode_gripper(0.035, 1.5) == (0x159, bytes.fromhex("0001117005dc0100"))
    assert protocol.encode_mode(100, False) == (0x151, bytes((1, 1, 100, 0, 0, 0, 0, 0)))
    assert protocol.encode_mode(30, True)[1][3] == 0xAD
    assert protocol.encode_enable(True) == (0x471, bytes((7, 2, 0, 0, 0, 0, 0, 0)))
    assert protocol.encode_clear() == (0x475, bytes((7, 0, 0, 0x7F, 0xFF, 0xAE, 0, 0)))


def test_feedback_in_rad_and_m_in_the_order_of_the_motors(start_arm, make):
    start_arm(joints_mdeg=[1000, 2000, -3000, 4000, -5000, 6000], gripper_um=40_000)
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    assert rig.joints == JOINTS
    assert np.degrees(state.positions[:6]) == pytest.approx([1.0, 2.0, -3.0, 4.0, -5.0, 6.0])
    assert state.positions[6] == pytest.approx(0.020)
    assert state.velocities == pytest.approx([1.5, 0, 0, 0, 0, 0, 0])
    assert state.temperatures_c == dict.fromkeys(JOINTS[:6], 35)


def test_commands_by_name_arrive_at_their_motors(start_arm, make):
    arm = start_arm(gripper_um=40_000)
    rig = make()
    rig.until(lambda: rig.phase == "holding")
    goal = np.radians([1.0, 91.0, -61.0, 2.0, 29.0, -3.0]).tolist() + [0.0201]
    there = ([1000, 91_000, -61_000, 2000, 29_000, -3000], 40_200)
    rig.until(
        lambda: rig.driver.command(JOINTS[::-1], goal[::-1]) or (arm.joints_mdeg, arm.gripper_um) == there
    )


def test_an_arm_without_a_gripper_gets_no_command_for_one(start_arm, make):
    arm = start_arm(silent={0x2A8})
    rig = make((", joint7]", "]"))
    state = rig.until(lambda: rig.phase == "holding")
    assert state.positions.shape == (6,)
    rig.until(lambda: rig.command(state.positions) or arm.commands(0x155))
    assert not arm.commands(0x159)


def test_commands_out_of_the_limits_never_reach_the_arm(start_arm, make):
    arm = start_arm(joints_mdeg=[149_000, 90_000, -60_000, 0, 30_000, 0])
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    limit = pytest.approx(math.degrees(2.618) * 1000, abs=1)
    goal = [9.0, *state.positions[1:]]
    rig.until(lambda: rig.command(goal) or arm.joints_mdeg[0] == limit)
    turn(rig, goal, 0.1)
    until_quiet(arm)
    assert arm.joints_mdeg[0] == limit


def test_an_arm_without_power_is_told_where_to_hold_and_then_switched_on(start_arm, make):
    arm = start_arm(enabled=False, control_mode=0)
    rig = make()
    rig.until(lambda: arm.commands(0x471))
    until_quiet(arm)
    before = [identifier for identifier, _ in arm.received]
    assert before.index(0x155) < before.index(0x471)
    assert struct.unpack(">ii", arm.commands(0x155)[0]) == (0, 90_000)
    rig.until(lambda: rig.phase == "holding")
    assert not rig.log.problems


def test_nobody_there_is_said_once_and_the_arm_is_taken_when_it_comes(start_arm, make):
    rig = make()
    rig.driver.step()
    sleep(0.03)
    rig.driver.step()
    assert len(rig.log.problems) == 1
    assert "the arm says nothing (no feedback of the joints" in rig.log.problems[0]
    start_arm()
    rig.until(lambda: rig.phase == "holding")
    assert len(rig.log.recoveries) == 1


def test_an_interface_that_does_not_exist_is_told(make_rig):
    rig = make_rig("piper", "agilex_piper", "no_such_can")
    rig.driver.step()
    assert "the CAN interface cannot be opened" in rig.problem


@pytest.mark.parametrize("lost", [0x2A6, 0x2A8, 0x2A1, 0x263])
def test_when_a_kind_of_frame_stays_away_nothing_is_commanded_and_it_comes_back(start_arm, make, lost):
    arm = start_arm()
    rig = make(("misses_max: 5", "misses_max: 1000"))
    state = rig.until(lambda: rig.phase == "holding")
    arm.silent = {lost}
    rig.until(lambda: rig.driver.step() is None)
    until_quiet(arm)
    arm.received.clear()
    assert turn(rig, state.positions, 0.1) is None
    until_quiet(arm)
    assert not arm.received
    arm.silent = set()
    rig.until(lambda: rig.command(state.positions) or arm.commands(0x155))


def test_unplugged_midway_and_plugged_in_again(start_arm, make):
    arm = start_arm()
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions, 0.08)
    arm.silent = {identifier for identifier, _ in arm._report()}
    rig.until(lambda: rig.command(state.positions) or rig.phase == "disconnected")
    assert "no feedback of the joints" in rig.log.problems[0]
    assert len(rig.log.problems) == 1
    arm.silent = set()
    rig.until(lambda: rig.command(state.positions) or rig.phase == "following")
    assert len(rig.log.recoveries) == 1


@pytest.mark.parametrize("broken", ["recv", "send"])
def test_an_interface_that_fails_midway_is_told_and_opened_again(start_arm, make, broken, monkeypatch):
    arm = start_arm()
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions, 0.05)

    def fail(*arguments, **options):
        raise can.CanOperationError("Network is down")

    monkeypatch.setattr(rig.driver._device._bus, broken, fail)
    rig.until(lambda: rig.command(state.positions) or rig.phase == "disconnected")
    assert "Network is down" in rig.log.problems[0]
    arm.received.clear()
    rig.until(lambda: rig.command(state.positions) or rig.phase == "following")
    assert len(rig.log.problems) == len(rig.log.recoveries) == 1


def test_short_frames_and_frames_of_others_are_not_taken_for_the_arms(start_arm, make):
    arm = start_arm(noise=True)
    rig = make(("misses_max: 5", "misses_max: 1000"))
    state = rig.until(lambda: rig.phase == "holding")
    assert np.degrees(state.positions[0]) == pytest.approx(0.0)
    arm.short = True
    rig.until(lambda: rig.driver.step() is None)
    rig.steps(3)
    assert rig.driver.step() is None


def test_positions_that_cannot_be_are_no_feedback(start_arm, make):
    arm = start_arm()
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    arm.joints_mdeg = [2**31 - 1, 90_000, -60_000, 0, 30_000, 0]
    rig.until(lambda: rig.lost)
    until_quiet(arm)
    arm.received.clear()
    rig.until(lambda: rig.command(state.positions) or rig.log.problems)
    turn(rig, state.positions, 0.1)
    until_quiet(arm)
    assert not arm.commands(0x155) and "joint1 is measured at" in rig.log.problems[0]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"motor_state": [0, 0, 0x10, 0, 0, 0]}, "joint3: collision protection"),
        ({"motor_state": [0, 0x82, 0, 0, 0, 0]}, "joint2: motor overheated; joint2: stall protection"),
        ({"arm_state": 7}, "collision"),
        ({"limit_bits": 0x20}, "joint6 beyond its limit"),
        ({"control_mode": 2}, "controlled otherwise: teaching by hand"),
        ({"motor_c": [35, 35, 80, 35, 35, 35]}, "joint3 is at 80 C"),
    ],
)
def test_what_the_arm_reports_stops_it_and_is_told_in_one_line(start_arm, make, trouble, words):
    arm = start_arm()
    rig = make()
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions, 0.08)
    # A command that comes after the trouble would set the control mode anew.
    rig.until(lambda: rig.phase == "holding")
    until_quiet(arm)
    rig.log.problems.clear()
    for name, value in trouble.items():
        setattr(arm, name, value)
    rig.until(lambda: rig.phase == "fault")
    until_quiet(arm)
    arm.received.clear()
    turn(rig, state.positions, 0.1)
    until_quiet(arm)
    assert rig.phase == "fault" and words in rig.problem
    assert len(rig.log.problems) == 1 and not arm.received


def test_clearing_faults_by_the_service(start_arm, make):
    arm = start_arm(motor_state=[0x20, 0, 0, 0, 0, 0])
    rig = make()
    rig.until(lambda: rig.phase == "fault")
    assert rig.driver.clear_faults()[0]
    rig.until(lambda: rig.phase == "holding")
    assert not arm.commands(0x150), "nobody asked the arm to let go"


def test_after_an_emergency_stop_only_the_service_resumes(start_arm, make):
    arm = start_arm(arm_state=1)
    rig = make()
    rig.until(lambda: rig.phase == "fault")
    turn(rig, [0.0] * 7, 0.1)
    assert not arm.commands(0x150)
    rig.driver.clear_faults()
    rig.until(lambda: rig.phase == "holding")
    assert arm.enabled


def test_a_flooded_bus_does_not_keep_the_driver_for_ever(channel):
    class Flood:
        def recv(self, timeout):
            return can.Message(arbitration_id=0x2A5, data=bytes(8), is_extended_id=False)

        def shutdown(self):
            pass

    from dexvla_ros.drivers.device import DeviceGone
    from dexvla_ros.drivers.libraries import can_library

    device = Piper(PiperSettings("virtual", channel, 1_000_000, 0.1, 100, False, 1.0), JOINTS)
    device._can, device._bus = can_library(), Flood()
    with pytest.raises(DeviceGone, match="floods"):
        device.read()
