"""The Inspire hand's driver against pymodbus' own server, on TCP and on a pseudo-terminal."""

import os
from time import sleep

import numpy as np
import pytest

from dexvla_model.errors import UserError
from simulated_inspire import SimulatedInspire

STAYS = ("misses_max: 5", "misses_max: 1000")
OPEN = [0.0] * 6
CLOSED = [1.47, 1.47, 1.47, 1.47, 0.6, 1.308]


@pytest.fixture
def start_hand():
    hands = []

    def start(transport="tcp", port=0):
        hands.append(SimulatedInspire(transport, port))
        return hands[-1]

    yield start
    for hand in hands:
        if hand._thread.is_alive():
            hand.stop()


@pytest.fixture
def make(make_rig):
    def make(hand, *changes):
        transport = (("transport: rtu", f"transport: {hand.transport}"),)
        return make_rig("inspire", "inspire", hand.address, (*transport, *changes))

    return make


def turn(rig, command, steps=10):
    for _ in range(steps):
        rig.command(command)
        state = rig.driver.step()
        sleep(0.005)
    return state


def until_following(rig, command):
    rig.until(lambda: rig.command(command) or rig.phase == "following")


@pytest.mark.parametrize("transport", ["tcp", "rtu"])
def test_counts_become_angles_and_back_in_the_order_of_the_registers(start_hand, make, transport):
    hand = start_hand(transport)
    rig = make(hand)
    state = rig.until(lambda: rig.phase == "holding")
    expected = np.array(CLOSED) * (1.0 - np.array(hand.counts) / 1000.0)
    assert state.positions == pytest.approx(expected)
    assert state.temperatures_c == dict.fromkeys(rig.joints, 40)
    goal = np.array(CLOSED) * [0.01, 0.102, 0.203, 0.304, 0.405, 0.506]
    there = [990, 898, 797, 696, 595, 494]
    rig.until(lambda: rig.driver.command(rig.joints[::-1], goal[::-1]) or hand.counts == there)


@pytest.mark.parametrize(("angles", "counts"), [(OPEN, [1000] * 6), (CLOSED, [0] * 6)])
def test_open_is_a_thousand_and_closed_is_none(start_hand, make, angles, counts):
    device = make(start_hand()).driver._device
    assert device.counts(np.array(angles)) == counts
    assert device.angles(counts) == pytest.approx(angles)
    for value in range(0, 1001, 7):
        assert device.counts(device.angles([value] * 6)) == [value] * 6


def test_speed_and_force_are_set_before_anything_moves(start_hand, make):
    hand = start_hand()
    rig = make(hand)
    rig.until(lambda: rig.phase == "holding")
    assert hand.writes == [(1522, [1000] * 6), (1498, [500] * 6)]


def test_nobody_there_is_said_once_and_the_hand_is_taken_when_it_comes(start_hand, make):
    hand = start_hand()
    hand.stop()
    rig = make(hand)
    for _ in range(4):
        rig.driver.step()
        sleep(0.03)
    assert len(rig.log.problems) == 1 and "cannot be opened" in rig.log.problems[0]
    start_hand(port=int(hand.address.rpartition(":")[2]))
    rig.until(lambda: rig.phase == "holding")
    assert len(rig.log.recoveries) == 1


def test_a_serial_port_that_does_not_exist_is_told(make_rig):
    rig = make_rig("inspire", "inspire", "/dev/no_such_port")
    rig.driver.step()
    assert "/dev/no_such_port cannot be opened" in rig.problem


def test_unplugged_midway_and_plugged_in_again(start_hand, make):
    hand = start_hand()
    rig = make(hand)
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions)
    hand.stop()
    turn(rig, state.positions)
    assert rig.phase == "disconnected" and len(rig.log.problems) == 1
    back = start_hand(port=int(hand.address.rpartition(":")[2]))
    back.counts = [500] * 6
    until_following(rig, state.positions)
    angles = [values for address, values in back.writes if address == 1486]
    assert np.abs(np.array(angles[0]) - 500).max() < 60, "it starts from where the hand is now"


def test_a_serial_line_that_is_pulled_out_and_put_back(start_hand, make_rig, tmp_path):
    hand = start_hand("rtu")
    port = tmp_path / "ttyHand"
    port.symlink_to(hand.address)
    rig = make_rig("inspire", "inspire", str(port))
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions)
    hand.stop()
    turn(rig, state.positions)
    assert rig.phase == "disconnected" and len(rig.log.problems) == 1
    back = start_hand("rtu")
    port.unlink()
    port.symlink_to(back.address)
    until_following(rig, state.positions)
    assert len(rig.log.recoveries) == 1


def drop(data):
    return b""


def damage(data):
    return data[:-1] + bytes((data[-1] ^ 0x5A,))


def cut(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("transport", "mangle"),
    [("tcp", drop), ("tcp", cut), ("rtu", drop), ("rtu", cut), ("rtu", damage)],
)
def test_while_answers_are_lost_or_damaged_nothing_is_written_and_then_it_goes_on(
    start_hand, make, transport, mangle
):
    hand = start_hand(transport)
    rig = make(hand, STAYS)
    state = rig.until(lambda: rig.phase == "holding")
    turn(rig, state.positions, 5)
    hand.writes.clear()
    before = rig.lost
    hand.mangle = mangle
    assert turn(rig, state.positions, 4) is None
    assert not hand.writes and rig.lost == before + 4
    hand.mangle = None
    until_following(rig, state.positions)
    rig.until(lambda: rig.command(state.positions) or hand.writes)
    assert not rig.log.problems, "a few lost answers are no news"


@pytest.mark.parametrize("transport", ["tcp", "rtu"])
def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(start_hand, make, transport):
    hand = start_hand(transport)
    rig = make(hand, STAYS)
    rig.until(lambda: rig.phase == "holding")

    def late(data):
        sleep(0.4)
        return data

    hand.mangle = late
    rig.steps(2)
    hand.mangle = None
    hand.counts = [300] * 6
    sleep(0.5)
    expected = np.array(CLOSED) * 0.7
    rig.fresh()  # may have been measured before
    for _ in range(4):
        assert rig.fresh().positions == pytest.approx(expected)


def test_answers_that_cannot_be_are_no_answers(start_hand, make):
    hand = start_hand()
    rig = make(hand)
    state = rig.until(lambda: rig.phase == "holding")
    hand.counts = [0x7FFF] * 6
    hand.writes.clear()
    before = rig.lost
    turn(rig, state.positions, 4)
    assert not hand.writes and rig.lost == before + 4


def test_a_hand_that_refuses_is_told_with_its_reason(start_hand, make):
    hand = start_hand()
    rig = make(hand, ("misses_max: 5", "misses_max: 2"))
    state = rig.until(lambda: rig.phase == "holding")
    hand.refuse = True
    turn(rig, state.positions, 3)
    assert "refuses a request" in rig.problem and len(rig.log.problems) == 1


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"errors": [0, 0, 0, 1, 0, 0]}, "index_proximal_joint: stall"),
        (
            {"errors": [6, 0, 0, 0, 0, 0]},
            "pinky_proximal_joint: overheated; pinky_proximal_joint: over-current",
        ),
        ({"states": [2, 2, 2, 2, 2, 7]}, "thumb_proximal_yaw_joint: fault"),
        ({"temperatures": [40, 66, 40, 40, 40, 40]}, "ring_proximal_joint is at 66 C"),
    ],
)
def test_what_the_hand_reports_stops_it_and_is_told_in_one_line(start_hand, make, trouble, words):
    hand = start_hand()
    rig = make(hand)
    state = rig.until(lambda: rig.phase == "holding")
    for name, value in trouble.items():
        setattr(hand, name, value)
    turn(rig, state.positions, 5)
    hand.writes.clear()
    turn(rig, state.positions, 10)
    assert rig.phase == "fault" and words in rig.problem
    assert len(rig.log.problems) == 1 and not hand.writes


def test_clearing_a_stall_by_the_service(start_hand, make):
    hand = start_hand()
    hand.errors = [0, 1, 0, 0, 0, 0]
    rig = make(hand)
    rig.until(lambda: rig.phase == "fault")
    assert rig.driver.clear_faults()[0]
    rig.until(lambda: rig.phase == "holding")
    assert (1004, [1]) in hand.writes


def test_it_says_that_it_cannot_be_switched_off(start_hand, make):
    rig = make(start_hand())
    rig.until(lambda: rig.phase == "holding")
    assert rig.driver.enable(False) == (False, "this hand cannot be switched off; take its power away")
    assert rig.driver.enable(True)[0]


def test_a_port_given_for_tcp_needs_host_and_number(make_rig):
    with pytest.raises(UserError, match="HOST:PORT"):
        make_rig("inspire", "inspire", "192.168.11.210", (("transport: rtu", "transport: tcp"),))


def test_nothing_is_left_open(start_hand, make):
    before = len(os.listdir("/proc/self/fd"))
    rig = make(start_hand())
    for _ in range(5):
        rig.until(lambda: rig.phase == "holding")
        rig.driver.close()
    assert len(os.listdir("/proc/self/fd")) - before < 15
