"""The terminal of `dexvla teleop`: keys go out at once, the screen follows."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from dexvla_model.robot import load_robot
from dexvla_msgs.msg import TeleopState as TeleopStateMessage
from dexvla_ros.bringup import NodeProcess, TeleopOptions
from dexvla_ros.cli.exit_codes import GRAPH_FAILED, SUCCESS
from dexvla_ros.cli.node_output import node_printer
from dexvla_ros.cli.teleop_screen import key_table, teleop_screen
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.messages.stamps import stamp_to_message
from dexvla_ros.nodes.qos import COMMAND, LATCHED, SENSOR
from dexvla_ros.supervisor import Supervisor
from dexvla_ros.teleop.configuration import joy_topic_of, load_keyboard
from dexvla_ros.teleop.joystick import Joystick
from dexvla_ros.teleop.terminal import Terminal

_KEY_WAIT_S = 0.1
# As joy_node repeats its state while nothing changes.
_JOY_PERIOD_S = 0.02
# For the robot to come to rest when the session ends.
_RELEASE_S = 3.0
_FIRST_JOYSTICK = Path("/dev/input/js0")
_DISCOVERY_S = 0.5


class TeleopSession:
    """Reads keys and perhaps a gamepad in threads of their own, and keeps the newest state of the node.

    Attributes:
        state: the newest message on teleop/state. note: what is wrong here, for the screen.
        quitting: the human wants to end.
    """

    def __init__(
        self, client: GraphClient, options: TeleopOptions, keys: dict[str, str], joy_topic: str
    ) -> None:
        self.state: TeleopStateMessage | None = None
        self.note = ""
        self.quitting = False
        self._client = client
        self._device = options.device
        self._keys = keys
        self._asked: deque[str] = deque()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        node = client.node
        node.create_subscription(TeleopStateMessage, "teleop/state", self._on_state, LATCHED)
        self._publish_key = node.create_publisher(String, "teleop/keys", COMMAND).publish
        self._publish_joy = node.create_publisher(Joy, joy_topic, SENSOR).publish
        self._engage = node.create_client(SetBool, "teleop/engage")
        self._stop = node.create_client(Trigger, "teleop/stop")

    def read_keys(self, terminal: Terminal) -> None:
        """Read keys until the session ends."""
        self._run(self._read_keys, terminal)

    def read_joystick(self, joystick: Joystick) -> None:
        """Publish Joy until the session ends or the gamepad is gone."""
        self._run(self._read_joystick, joystick)

    def turn(self) -> None:
        """Serve callbacks for a moment, and ask for what the keys want."""
        self._client.turn()
        while self._asked:
            action = self._asked.popleft()
            if action == "stop":
                self._stop.call_async(Trigger.Request())
            else:
                self._engage.call_async(SetBool.Request(data=action == "engage"))

    def release(self) -> None:
        """Hand the robot back, if it is ours, and wait until that has happened."""
        deadline_s = monotonic() + _RELEASE_S
        if self.state is None or not self._engage.service_is_ready():
            return
        self._engage.call_async(SetBool.Request(data=False))
        while self.state.state != TeleopStateMessage.RELEASED and monotonic() < deadline_s:
            self._client.turn()

    def screen(self, keys: Table, engage_key: str) -> RenderableType:
        """What to show now."""
        return teleop_screen(keys, self.state, engage_key, self.note)

    def end(self) -> None:
        """End the threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _on_state(self, message: TeleopStateMessage) -> None:
        self.state = message

    def _run(self, target: Callable, argument: object) -> None:
        thread = threading.Thread(target=target, args=(argument,), name=target.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read_keys(self, terminal: Terminal) -> None:
        while not self._ended.is_set():
            try:
                pressed = terminal.read(_KEY_WAIT_S)
            except (EOFError, OSError):
                self.quitting = True
                return
            for key in pressed:
                self._on_key(key)

    def _on_key(self, key: str) -> None:
        action = self._keys.get(key, "")
        if action == "quit":
            self.quitting = True
        elif self._device == "keyboard":
            self._publish_key(String(data=key))
        elif action in ("engage", "release", "stop"):
            self._asked.append(action)

    def _read_joystick(self, joystick: Joystick) -> None:
        while not self._ended.is_set():
            try:
                joystick.read(_JOY_PERIOD_S)
            except EOFError as error:
                self.note = str(error)
                return
            message = Joy(axes=joystick.axes, buttons=joystick.buttons)
            message.header.stamp = stamp_to_message(self._client.now_s())
            self._publish_joy(message)


def run_session(
    nodes: Sequence[NodeProcess],
    options: TeleopOptions,
    joystick: Path | None,
    output: Path,
    use_sim_time: bool,
    verbose: bool,
) -> int:
    """Run teleoperation until the human quits or a node dies; the exit code.

    Raises:
        UserError: there is no terminal to read keys from, no such gamepad, or a file has an error.
    """
    robot = load_robot(options.robot)
    keyboard = load_keyboard(options.config if options.device == "keyboard" else "", robot)
    joy_topic = joy_topic_of(options.config, robot) if options.device == "gamepad" else "joy"
    console = Console()
    with ExitStack() as stack:
        terminal = None
        if options.device == "keyboard" or sys.stdin.isatty():
            terminal = stack.enter_context(Terminal())
        stick = None if joystick is None else stack.enter_context(Joystick(joystick))
        show = node_printer(console, verbose)
        graph = Supervisor(nodes, output / "logs", use_sim_time, show, quiet_start=not verbose)
        try:
            with graph as supervisor:
                with console.status("Starting the nodes ..."):
                    supervisor.bring_up()
                session = TeleopSession(supervisor.client, options, dict(keyboard.keys), joy_topic)
                stack.callback(session.end)
                if stick is None and options.device == "gamepad":
                    stick = _first_joystick(supervisor.client, joy_topic, stack)
                if stick is not None:
                    session.read_joystick(stick)
                if terminal is not None:
                    session.read_keys(terminal)
                engage_key = next(key for key, action in keyboard.keys.items() if action == "engage")
                keys = key_table(keyboard.keys, options.device)
                _drive(session, supervisor, lambda: session.screen(keys, engage_key), console)
        except GraphError as error:
            Console(stderr=True, soft_wrap=True).print(str(error), style="bold red", markup=False)
            return GRAPH_FAILED
    return SUCCESS


def _drive(
    session: TeleopSession, supervisor: Supervisor, screen: Callable[[], RenderableType], console: Console
) -> None:
    with Live(screen(), console=console, refresh_per_second=10) as live:
        try:
            while not session.quitting:
                supervisor.check()
                session.turn()
                live.update(screen())
        except KeyboardInterrupt:
            pass
        # However it ends, the robot is brought to rest and a policy is let go on.
        session.release()
        session.end()
        live.update(screen(), refresh=True)


def _first_joystick(client: GraphClient, topic: str, stack: ExitStack) -> Joystick | None:
    """The first gamepad, unless somebody publishes Joy already."""
    deadline_s = monotonic() + _DISCOVERY_S
    while monotonic() < deadline_s:
        client.turn()
    # One publisher is our own.
    if client.node.count_publishers(topic) > 1 or not _FIRST_JOYSTICK.exists():
        return None
    return stack.enter_context(Joystick(_FIRST_JOYSTICK))
