"""The LEAP hand's driver against motors on a pseudo-terminal: ticks, order, damaged packets, reboots."""

import math
import struct
from time import sleep

import numpy as np
import pytest

from dexvla_ros.drivers import leap
from simulated_leap import SimulatedLeap, crc16

TICK = 2.0 * math.pi / 4096


@pytest.fixture(autouse=True)
def short_reboot(monkeypatch):
    monkeypatch.setattr(leap, "_REBOOT_S", 0.01)


@pytest.fixture
def hand():
    hand = SimulatedLeap()
    yield hand
    hand.stop()


@pytest.fixture
def make(make_rig, hand):
    return lambda *changes: make_rig("leap", "leap", hand.path, changes)


@pytest.fixture
def rig(make):
    """A rig that holds, with motors that are on."""
    rig = make(("misses_max: 5", "misses_max: 1000"))
    rig.until(lambda: rig.phase == "holding")
    return rig


def turn(rig, command, steps=10):
    for _ in range(steps):
        rig.command(command)
        state = rig.driver.step()
    return state


def where(hand):
    return np.array([(motor.ticks - 2048) * TICK for motor in hand.motors.values()])


def goals_of_row(row):
    return {motor: struct.unpack("<i", data)[0] for motor, data in row.items()}


def goals_of(hand, index=-1):
    return goals_of_row(hand.goals()[index])


def forget_writes(hand):
    sleep(0.06)  # until what is on its way has come
    hand.writes.clear()


@pytest.mark.parametrize("ticks", [2048, 0, 4095, 1366, 3502])
def test_ticks_become_angles_and_back(ticks):
    assert leap.ticks(leap.angle(ticks)) == ticks
    assert leap.angle(ticks) == pytest.approx(ticks * TICK - math.pi)


def test_the_simulated_bus_has_the_checksum_of_the_sdk():
    from dynamixel_sdk.protocol2_packet_handler import Protocol2PacketHandler

    data = bytes(range(40))
    assert crc16(data) == Protocol2PacketHandler().updateCRC(0, data, len(data))


def test_feedback_in_rad_in_the_order_of_the_joints(hand, rig):
    hand.motors[3].set(128, 4, -100)
    state = rig.fresh()
    assert state.positions == pytest.approx(where(hand))
    assert state.velocities[3] == pytest.approx(-100 * 0.229 * 2.0 * math.pi / 60.0)
    assert state.temperatures_c == {str(motor): 38 for motor in range(16)}


def test_motors_are_set_up_told_where_to_hold_and_then_switched_on(hand, rig):
    order = [address for address, _ in hand.writes]
    assert order.index(11) < order.index(84) < order.index(116) < order.index(64, order.index(116))
    assert {motor.get(11, 1) for motor in hand.motors.values()} == {5}
    assert [hand.motors[motor].get(84, 2) for motor in (0, 1, 4, 8, 12)] == [450, 600, 450, 450, 600]
    assert hand.motors[0].get(102, 2) == round(350.0 / 1.34)
    assert goals_of(hand, 0) == {motor: 2048 + 10 * motor for motor in range(16)}
    assert all(motor.table[64] for motor in hand.motors.values())


def test_a_hand_that_is_on_and_set_up_keeps_its_torque(hand, make):
    for motor in hand.motors.values():
        motor.table[11], motor.table[64] = 5, 1
        motor.set(116, 4, motor.ticks)
    rig = make()
    rig.until(lambda: rig.phase == "holding")
    assert not [items for address, items in hand.writes if address in (64, 11)]


def test_commands_by_name_arrive_at_their_motors(hand, rig):
    goal = where(hand) + np.linspace(0.02, 0.05, 16)
    close = pytest.approx(goal, abs=TICK / 2)
    rig.until(lambda: rig.driver.command(rig.joints[::-1], goal[::-1]) or where(hand) == close)


def test_commands_out_of_the_limits_never_reach_the_motors(hand, rig):
    goal = where(hand)
    hand.motors[0].set(132, 4, 2048 + 670)
    goal[0] = 3.0
    rig.until(lambda: rig.command(goal) or (hand.goals() and goals_of(hand)[0] == leap.ticks(1.047)))
    turn(rig, goal, 20)
    assert max(goals[0] for goals in map(goals_of_row, hand.goals())) == leap.ticks(1.047)


def test_a_port_that_does_not_exist_is_told(make_rig):
    rig = make_rig("leap", "leap", "/dev/no_such_port")
    rig.driver.step()
    assert "the serial port cannot be opened" in rig.problem and "/dev/no_such_port" in rig.problem


def test_a_motor_that_is_missing_keeps_the_hand_from_moving_and_is_named(hand, make):
    hand.mute = {7}
    rig = make()
    rig.steps(3)
    assert rig.phase == "disconnected" and "motor 7 does not answer" in rig.problem
    assert len(rig.log.problems) == 1 and not hand.goals()
    hand.mute = set()
    rig.until(lambda: rig.phase == "holding")
    assert rig.log.recoveries


def test_unplugged_midway_and_plugged_in_again(hand, make_rig, tmp_path):
    port = tmp_path / "ttyHand"
    port.symlink_to(hand.path)
    rig = make_rig("leap", "leap", str(port))
    rig.until(lambda: rig.phase == "holding")
    hold = where(hand)
    turn(rig, hold)
    hand.unplug()
    turn(rig, hold, 8)
    assert rig.phase == "disconnected" and len(rig.log.problems) == 1
    back = SimulatedLeap()
    try:
        for motor in back.motors.values():
            motor.set(132, 4, 2148)
        port.unlink()
        port.symlink_to(back.path)
        rig.until(lambda: rig.command(hold) or rig.phase == "following")
        assert goals_of_row(back.goals()[0]) == dict.fromkeys(range(16), 2148), "it starts from where it is"
        assert len(rig.log.recoveries) == 1
    finally:
        rig.driver.close()
        back.stop()


def damage(motor, packet):
    return packet[:9] + bytes((packet[9] ^ 0x10,)) + packet[10:] if motor == 5 else packet


def cut(motor, packet):
    return packet[:6] if motor == 15 else packet


def drop(motor, packet):
    return b"" if motor == 2 else packet


def shorten(motor, packet):
    """A packet that is right in itself, but too short for the question."""
    if motor != 4:
        return packet
    short = packet[:5] + struct.pack("<H", 6) + packet[7:9] + packet[9:11]
    return short + struct.pack("<H", crc16(short))


@pytest.mark.parametrize("mangle", [damage, cut, drop, shorten])
def test_while_answers_are_lost_or_damaged_nothing_is_written_and_then_it_goes_on(hand, rig, mangle):
    hold = where(hand)
    turn(rig, hold, 3)
    forget_writes(hand)
    before = rig.lost
    hand.mangle = mangle
    assert turn(rig, hold, 4) is None
    assert not hand.writes and rig.lost == before + 4
    hand.mangle = None
    rig.until(lambda: rig.command(hold) or hand.goals())
    assert not rig.log.problems, "a few lost answers are no news"


def test_noise_before_an_answer_does_no_harm(hand, rig):
    hand.mangle = lambda motor, packet: b"\x00\xff\xfd\x55" + packet
    hand.late_s = 0.0
    before = rig.lost
    assert rig.fresh().positions == pytest.approx(where(hand))
    assert rig.lost == before


def test_answers_that_come_late_are_not_taken_for_those_to_the_next_question(hand, rig):
    hand.late_s = 0.03
    assert rig.steps(2) is None
    hand.late_s = 0.0
    sleep(0.3)
    for motor in hand.motors.values():
        motor.set(132, 4, 2060)
    assert rig.fresh().positions == pytest.approx(12 * TICK)


def lengthen(motor, packet):
    """A packet that is right in itself, but answers a question about more."""
    longer = packet[:5] + struct.pack("<H", len(packet) - 7 + 3) + packet[7:-2] + b"\x20" * 3
    return longer + struct.pack("<H", crc16(longer))


def test_an_answer_to_a_longer_question_is_not_cut_to_fit(hand, rig):
    hold = where(hand)
    turn(rig, hold, 3)
    forget_writes(hand)
    hand.mangle = lengthen
    assert turn(rig, hold, 3) is None
    assert not hand.writes and rig.phase != "fault"


def test_a_bus_that_babbles_does_not_keep_the_driver_for_ever(hand, rig):
    hand.babble = True
    sleep(0.05)
    rig.steps(2)
    hand.babble = False
    sleep(0.05)
    rig.until(lambda: rig.phase == "holding")


def test_a_position_that_cannot_be_is_no_answer(hand, rig):
    hold = where(hand)
    hand.motors[9].set(132, 4, 2**30)
    forget_writes(hand)
    before = rig.lost
    turn(rig, hold, 3)
    assert not hand.goals() and rig.lost == before + 3


def test_overload_stops_the_whole_hand_where_it_is_and_the_service_reboots_the_motor(hand, rig):
    hold = where(hand)
    turn(rig, hold, 5)
    hand.motors[6].table[70], hand.motors[6].table[64] = 0x20, 0
    turn(rig, hold, 5)
    forget_writes(hand)
    turn(rig, hold, 10)
    assert rig.phase == "fault" and "motor 6: overload" in rig.problem
    assert len(rig.log.problems) == 1 and not hand.writes
    assert rig.driver.clear_faults()[0]
    assert hand.motors[6].get(84, 2) == 600, "a reboot forgets the gains"
    rig.until(lambda: rig.command(hold) or rig.phase == "following")
    assert hand.motors[6].table[64] == 1


def test_a_hot_motor_stops_the_hand_until_it_is_cooler(hand, rig):
    hold = where(hand)
    hand.motors[12].table[146] = 72
    rig.until(lambda: rig.command(hold) or rig.phase == "fault")
    assert "12 is at 72 C" in rig.problem
    hand.motors[12].table[146] = 50
    rig.until(lambda: rig.command(hold) or rig.phase == "following")


def test_motors_that_lose_their_power_are_switched_on_where_they_are(hand, rig):
    hold = where(hand)
    turn(rig, hold, 5)
    for motor in hand.motors.values():
        motor.table[64] = 0
        motor.set(132, 4, 2100)
    rig.until(lambda: rig.phase == "disabled")
    rig.until(lambda: rig.phase != "disabled")
    assert where(hand) == pytest.approx(52 * TICK, abs=3 * TICK)


def test_switched_off_and_on_by_the_service(hand, rig):
    assert rig.driver.enable(False)[0]
    rig.until(lambda: "call enable" in rig.problem)
    assert not any(motor.table[64] for motor in hand.motors.values())
    assert rig.driver.enable(True)[0]
    rig.until(lambda: rig.phase == "holding")
