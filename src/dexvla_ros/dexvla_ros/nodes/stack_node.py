"""What all nodes of the stack share: lifecycle, parameters, guarded callbacks, diagnostics, running."""

import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException
from rclpy.experimental import EventsExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription, load_robot
from dexvla_ros.lifeline import shut_down_with_parent
from dexvla_ros.messages.stamps import NANOSECONDS_PER_SECOND, stamp_to_message
from dexvla_ros.nodes.diagnostics import ERROR, OK, diagnostic_array
from dexvla_ros.nodes.parameters import ROBOT, ParameterSpec, declare_parameters
from dexvla_ros.nodes.qos import DIAGNOSTICS
from dexvla_ros.nodes.unannounced import serve_unannounced

EXIT_USER_ERROR = 2
_DIAGNOSTICS_PERIOD_S = 1.0
# The longest that spin_until_future_complete takes; the events executor's own spin() never sleeps.
_FOREVER_S = 1e9


class Outlet:
    """A publisher that is called with a message, and that does nothing after a shutdown."""

    def __init__(self, publisher: Publisher, context: Context) -> None:
        self._publisher = publisher
        self._context = context

    def __call__(self, message: Any) -> None:
        try:
            self._publisher.publish(message)
        except (rclpy_implementation.RCLError, InvalidHandle):
            if self._context.ok():
                raise

    def subscribers(self) -> int:
        """How many subscriptions a message would reach."""
        return self._publisher.get_subscription_count()


class StackNode(LifecycleNode):
    """A lifecycle node; subclasses say what to do in `configure`, `activate`, `deactivate` and `release`.

    Attributes:
        parameters: parameters besides `robot`; the values are in `self.settings`.
        robot: the robot file, loaded before `configure`.
    """

    parameters: tuple[ParameterSpec, ...] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.settings = declare_parameters(self, (ROBOT, *self.parameters))
        self.robot: RobotDescription = load_robot(self.settings.robot)
        self.active = False
        self._reported: set[str] = set()
        self._entities: list[tuple[Callable, Any]] = []
        self._error = ""
        self._diagnostics = Outlet(
            self.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS), self.context
        )
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = self._refusing_the_impossible(service.callback)
        # In real time: a simulation that stands still has to show, and an idle executor notices a shutdown.
        self.create_timer(
            _DIAGNOSTICS_PERIOD_S, self._guard(self._watch_over_itself), clock=self.steady_clock
        )

    # What subclasses write

    def configure(self) -> None:
        """Create what the node needs, through `listen`, `publish_on` and the like; may raise UserError."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working; the robot holds."""

    def release(self) -> None:
        """Give back what `configure` took, besides what was created through `listen` and the like."""

    def on_failure(self, reason: str) -> None:
        """A callback raised; `reason` says what. Bring about the safe state."""

    def health(self) -> tuple[bytes, str, Mapping[str, object]]:
        """Level, message and values for /diagnostics while the node is active."""
        return OK, "working", {}

    # What subclasses use

    def now_s(self) -> float:
        """The node clock, in s."""
        return self.get_clock().now().nanoseconds / NANOSECONDS_PER_SECOND

    def real_s(self) -> float:
        """A clock that never jumps, in s: for pacing, for processes that hang, never for control."""
        return self.steady_clock.now().nanoseconds / NANOSECONDS_PER_SECOND

    def listen(
        self,
        kind: type,
        topic: str,
        callback: Callable,
        qos: QoSProfile,
        raw: bool = False,
        while_inactive: bool = False,
    ) -> None:
        """Subscribe until clean-up; callbacks come only while the node is active. `raw`: with bytes.

        Args:
            while_inactive: they come while it is configured, too.
        """
        guarded = self._guard(callback)
        subscription = self.create_subscription(
            kind,
            topic,
            lambda message: guarded(message) if self.active or while_inactive else None,
            qos,
            raw=raw,
        )
        self._entities.append((self.destroy_subscription, subscription))

    def publish_on(self, kind: type, topic: str, qos: QoSProfile) -> "Outlet":
        """A publisher until clean-up; call it with a message."""
        publisher = self.create_publisher(kind, topic, qos)
        self._entities.append((self.destroy_publisher, publisher))
        return Outlet(publisher, self.context)

    def every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Call back every `period_s` of real time while active; what is due is decided by the node clock."""
        guarded = self._guard(callback)
        timer = self.create_timer(
            period_s, lambda: guarded() if self.active else None, clock=self.steady_clock
        )
        self._entities.append((self.destroy_timer, timer))

    def serve(self, kind: type, name: str, callback: Callable) -> None:
        """Offer a service until clean-up; a callback that raises answers with an empty response."""
        guarded = self._guard(callback)
        service = self.create_service(
            kind, name, lambda request, response: guarded(request, response) or kind.Response()
        )
        self._entities.append((self.destroy_service, service))

    def ask(self, kind: type, name: str) -> Client:
        """A client of a service until clean-up; use `call_async`."""
        client = self.create_client(kind, name)
        self._entities.append((self.destroy_client, client))
        return client

    def deliver(self, callback: Callable[[], None]) -> None:
        """Run `callback` where this node's callbacks run; may be called from any thread."""
        if self.executor is not None and self.context.ok():
            self.executor.create_task(self._guard(callback))

    def report_once(self, reason: str, kind: str = "") -> None:
        """Log a failure the first time that it, or another of its kind, occurs."""
        kind = kind or reason
        if kind not in self._reported:
            self._reported.add(kind)
            self.get_logger().error(reason)

    def publish_diagnostics(self) -> None:
        """Say how the node is; called at 1 Hz, and by subclasses when something changes."""
        level, message, values = OK, self.lifecycle_label, {}
        if self._error:
            level, message = ERROR, self._error
        elif self.active:
            level, message, values = self.health()
        stamp = stamp_to_message(self.now_s())
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics(diagnostic_array(stamp, name, self.robot.name, level, message, values))

    @property
    def lifecycle_label(self) -> str:
        """Name of the lifecycle state."""
        return self._state_machine.current_state[1]

    # Lifecycle, as rclpy calls it. It swallows what is raised here, so nothing may be.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._error = ""
        self._reported.clear()
        return self._transition(self.configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.active = True
        result = self._transition(self.activate, undo=lambda: None)
        self.active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._transition(self.deactivate, undo=lambda: None)
        self.active = False
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self._release, undo=lambda: None)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        # The node stays in the state `finalized`: what raised was a bug, and a supervisor can tell it from a
        # mistake of the user's, after which the node is `unconfigured` again.
        self.active = False
        return TransitionCallbackReturn.FAILURE

    def close(self) -> None:
        """Stop working and give everything back, from whatever state."""
        if self.active:
            self._transition(self.deactivate, undo=lambda: None)
            self.active = False
        self._transition(self._release, undo=lambda: None)

    def _watch_over_itself(self) -> None:
        self.publish_diagnostics()
        serve_unannounced(self)

    def _refusing_the_impossible(self, change_state: Callable) -> Callable:
        """rclpy raises on a transition that the state does not have, which would end the node."""

        def change(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            state = self.lifecycle_label
            try:
                return change_state(request, response)
            except rclpy_implementation.RCLError:
                if self.context.ok():
                    wanted = request.transition.label or request.transition.id
                    self.get_logger().warning(f"there is no transition {wanted} from the state {state}")
                response.success = False
                return response

        return change

    def _transition(self, action: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except UserError as error:
            self._error = str(error)
            self.get_logger().error(str(error))
            undo()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            traceback.print_exc()
            self._error = f"{type(error).__name__}: {error}"
            self.get_logger().error(f"{_name(action)} failed with {self._error}")
            undo()
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()
        self.release()

    def _guard(self, callback: Callable) -> Callable:
        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Exception as error:
                if not self.context.ok():
                    return None
                reason = f"{_name(callback)} failed with {type(error).__name__}: {error}"
                if reason not in self._reported:
                    traceback.print_exc()
                self.report_once(reason)
                self.on_failure(reason)
                return None

        return guarded


def _name(function: Callable) -> str:
    function = getattr(function, "func", function)
    return getattr(function, "__name__", repr(function)).lstrip("_")


def run_node(make: Callable[[], StackNode]) -> int:
    """Run a node until it is told to stop; the exit code.

    A mistake of the user's in the parameters is printed as one sentence and ends with exit code 2.
    """
    shut_down_with_parent()
    # rclpy shuts its context down on both signals, which ends the spinning; Python's KeyboardInterrupt on top
    # of that would come out of the middle of some callback.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    rclpy.init(args=sys.argv)
    node = None
    code = 0
    try:
        node = make()
        executor = EventsExecutor()
        executor.add_node(node)
        executor.spin_until_future_complete(rclpy.Future(), _FOREVER_S)
    except UserError as error:
        print(str(error), file=sys.stderr, flush=True)
        code = EXIT_USER_ERROR
    except ExternalShutdownException:
        pass
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return code
