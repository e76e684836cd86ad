"""Driver nodes over DDS, as processes, with a simulated device on a real transport that goes and comes."""

from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from dexvla_ros.bringup import driver_processes
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor
from simulated_inspire import SimulatedInspire
from simulated_leap import SimulatedLeap

pytestmark = pytest.mark.ros

# For a machine that is busy.
PATIENCE_S = 120.0
STATUS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "warn", DiagnosticStatus.ERROR: "error"}


class Plugin:
    """Stands for topic_based_ros2_control: the command goes out at 50 Hz, the state comes in."""

    def __init__(self, system):
        self.client = GraphClient("plugin", False)
        node = self.client.node
        self.state, self.status, self.command = None, None, None
        node.create_subscription(JointState, f"{system}/joint_states", self._on_state, SENSOR)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        self._publisher = node.create_publisher(JointState, f"{system}/joint_commands", COMMAND)
        node.create_timer(0.02, self._on_timer)
        self._name = f"{system}_node"

    def wait_until(self, condition):
        self.client.wait_until(condition, PATIENCE_S, "the test goes on")

    def wait_for(self, level, words=""):
        def is_so():
            return self.status and STATUS[self.status.level] == level and words in self.status.message

        self.wait_until(is_so)

    def call(self, kind, name, request):
        return self.client.call(kind, f"{self._name}/{name}", request, PATIENCE_S)

    def position(self):
        return dict(zip(self.state.name, self.state.position))

    def _on_state(self, message):
        self.state = message

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name == self._name:
                self.status = status

    def _on_timer(self):
        if self.command is not None:
            self._publisher.publish(joint_state_message(0.0, list(self.command), list(self.command.values())))


@pytest.fixture
def start(tmp_path, driver_file):
    """Function: start the only driver of a hand alone, as robot and driver are named, on a port; its plugin, and
    the lines that it logged."""
    stack = []

    def start(robot, system, port, changes=()):
        lines = []
        (process,) = driver_processes(robot, {system: port})
        config = driver_file(robot, changes)
        process = replace(process, parameters={**process.parameters, "config": config})
        domain = own_domain()
        domain.__enter__()
        supervisor = Supervisor(
            (process,), tmp_path / "logs", False, lambda name, line: lines.append(line)
        )
        stack.append((domain, supervisor))
        supervisor.__enter__()
        supervisor.bring_up()
        plugin = Plugin(system)
        stack[-1] = (domain, supervisor, plugin)
        return plugin, lines

    yield start
    for domain, supervisor, *plugins in stack:
        for plugin in plugins:
            plugin.client.close()
        supervisor.stop()
        domain.__exit__(None, None, None)


def test_a_hand_on_a_serial_bus_moves_holds_in_a_fault_and_is_cleared_by_the_service(start):
    hand = SimulatedLeap()
    try:
        plugin, lines = start("leap", "leap_hand", hand.path)
        plugin.wait_until(lambda: plugin.state is not None and all(m.table[64] for m in hand.motors.values()))
        assert list(plugin.state.name) == [str(number) for number in range(16)]
        assert len(plugin.state.velocity) == 16
        # In another order than the motors': names count.
        plugin.command = {str(number): 0.2 + 0.01 * number for number in reversed(range(16))}
        plugin.wait_until(lambda: np.isclose(plugin.position()["3"], 0.23, atol=1e-3))
        plugin.wait_until(lambda: np.isclose(plugin.position()["15"], 0.35, atol=1e-3))
        plugin.wait_for("ok", "follows commands")

        hand.motors[2].table[70], hand.motors[2].table[64] = 0x20, 0
        plugin.wait_for("error", "motor 2: overload")
        answer = plugin.call(Trigger, "clear_faults", Trigger.Request())
        assert answer.success, answer.message
        plugin.wait_for("ok", "follows commands")

        plugin.command = None
        plugin.wait_for("warn", "no command for more than 5 s")
        assert plugin.call(SetBool, "enable", SetBool.Request(data=False)).success
        plugin.wait_for("error", "call enable")
        assert not any(motor.table[64] for motor in hand.motors.values())
        faults = [line for line in lines if "overload" in line]
        assert len(faults) == 1, lines
    finally:
        hand.stop()


def test_a_hand_on_ethernet_that_is_absent_at_the_start_and_unplugged_midway(start):
    hand = SimulatedInspire()
    hand.stop()
    port = int(hand.address.rpartition(":")[2])
    plugin, lines = start("inspire", "inspire_hand", hand.address, [("transport: rtu", "transport: tcp")])
    plugin.wait_for("error", "cannot be opened")
    assert plugin.state is None

    hand = SimulatedInspire(port=port)
    plugin.wait_until(lambda: plugin.state is not None)
    joints = list(plugin.state.name)
    plugin.command = dict(zip(joints, [0.5] * 6))
    plugin.wait_until(lambda: hand.counts[0] == 660)
    plugin.wait_for("ok", "follows commands")

    hand.stop()
    plugin.wait_for("error", "tries again")
    plugin.state = None
    hand = SimulatedInspire(port=port)
    plugin.wait_until(lambda: hand.counts[0] == 660)
    plugin.wait_for("ok", "follows commands")
    hand.stop()
    assert len([line for line in lines if "cannot be opened" in line]) == 1, lines
