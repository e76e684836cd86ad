"""A program's own node in the graph: waits without losing sight of the processes that it depends on."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.action import ActionClient
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from dexvla_ros.lifecycle_change import LifecycleChange

_SLICE_S = 0.05


class GraphError(Exception):
    """The graph does not do what it should: one sentence for the user."""


class GraphTimeout(GraphError):
    """What was waited for did not come about."""


class NodeDied(GraphError):
    """A process of the graph ended; the message names it and says why."""


class TransitionFailed(GraphError):
    """A node refused a lifecycle transition.

    Attributes:
        node: its name. is_bug: it raised something that is no mistake of the user's.
    """

    def __init__(self, node: str, transition: str, is_bug: bool) -> None:
        super().__init__(f"{node} could not {transition}.")
        self.node = node
        self.is_bug = is_bug


class GraphClient:
    """A node with an executor that is turned by whoever waits for something.

    Args:
        check: called several times per second while waiting; raises to end the wait.
    """

    def __init__(self, name: str, use_sim_time: bool, check: Callable[[], None] = lambda: None) -> None:
        # Interrupts stay Python's: they have to end a wait as KeyboardInterrupt.
        self._context = rclpy.Context()
        arguments = ["--ros-args", "--disable-external-lib-logs"]
        rclpy.init(args=arguments, context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        overrides = [Parameter("use_sim_time", value=use_sim_time)]
        self.node = Node(name, context=self._context, parameter_overrides=overrides)
        self._executor = EventsExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._check = check

    def close(self) -> None:
        """Leave the graph: from here on nothing of this node is known to others."""
        # The node would only seem to be gone while the executor or an action's client still holds a part of it.
        for waitable in list(self.node.waitables):
            if isinstance(waitable, ActionClient):
                waitable.destroy()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def now_s(self) -> float:
        """The node clock, in s."""
        return self.node.get_clock().now().nanoseconds / 1e9

    def turn(self, wake: Future | None = None) -> None:
        """Serve callbacks for a moment, or until `wake` is done."""
        self._executor.spin_until_future_complete(wake or Future(), _SLICE_S)

    def wait_until(
        self, condition: Callable[[], bool], timeout_s: float, what: str, wake: Future | None = None
    ) -> None:
        """Turn the executor until the condition holds.

        Args:
            timeout_s: in real time: what is waited for may be a process that hangs, and with it the clock.
            what: for the message: "... did not happen within".
            wake: when it is done, the condition is looked at without delay.

        Raises:
            GraphTimeout: it did not hold in time.
            GraphError: `check` found a reason to give up.
        """
        deadline_s = monotonic() + timeout_s
        # First the executor takes on what was created: the answer to a client that it does not know could be lost.
        self._executor.spin_until_future_complete(Future(), 0.0)
        while not condition():
            self._check()
            if monotonic() > deadline_s:
                raise GraphTimeout(f"Waited {timeout_s:g} s in vain: {what}.")
            self.turn(wake)

    def wait_for(self, future: Future, timeout_s: float, what: str) -> Any:
        """The future's result; times and errors as in `wait_until`."""
        self.wait_until(future.done, timeout_s, what, future)
        return future.result()

    def call(self, kind: type, service: str, request: Any, timeout_s: float) -> Any:
        """Wait for a service and call it."""
        client = self.node.create_client(kind, service)
        try:
            self.wait_until(client.service_is_ready, timeout_s, f"the service {service} is there")
            return self.wait_for(client.call_async(request), timeout_s, f"the service {service} answers")
        finally:
            self.node.destroy_client(client)

    def transition(self, nodes: Iterable[str], transition: str, timeout_s: float) -> None:
        """Take lifecycle nodes through `configure` or `activate`, all at the same time.

        Raises:
            TransitionFailed: a node refused.
            GraphTimeout: one did not answer in time.
        """
        changes = {name: LifecycleChange(self.node, name, transition) for name in nodes}
        try:
            for name, change in changes.items():
                self.wait_until(change.is_possible, timeout_s, f"{name} is there")
                change.ask()
            for name, change in changes.items():
                what = f"{name} has finished to {transition}"
                self.wait_until(change.has_ended, timeout_s, what, change.answer)
                if not change.succeeded():
                    state = self.call(GetState, f"{name}/get_state", GetState.Request(), timeout_s)
                    is_bug = state.current_state.id == State.PRIMARY_STATE_FINALIZED
                    raise TransitionFailed(name, transition, is_bug)
        finally:
            for change in changes.values():
                change.close()
