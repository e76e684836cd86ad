"""Starting a graph without `ros2 launch`: its processes, their lifecycle, and their end."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from dexvla_model.errors import UserError
from dexvla_ros.bringup import NodeProcess, graph_environment, parameter_file
from dexvla_ros.foreign import Foreign, ForeignNode, command_line, installed, write_parameters
from dexvla_ros.graph_client import GraphClient, GraphTimeout, NodeDied, TransitionFailed
from dexvla_ros.process_group import ProcessGroup
from dexvla_ros.shared_memory import clear_dead_segments

_EXIT_USER_ERROR = 2
# Loading a policy of 2 billion parameters from a slow disk.
CONFIGURE_TIMEOUT_S = 180.0
_ACTIVATE_TIMEOUT_S = 60.0


class Supervisor:
    """A context in which a graph runs; on leaving it, however that comes about, no process is left.

    Args:
        nodes: the graph; see `dexvla_ros.bringup`.
        log_folder: for the output and the parameters of every node.
        use_sim_time: whether the supervisor's own node follows /clock.
        on_line: see `ProcessGroup`.
        quiet_start: nothing is passed on until the graph is up; what keeps it from coming up is raised.
        foreign: what other packages bring; started first.
    """

    def __init__(
        self,
        nodes: Sequence[NodeProcess],
        log_folder: Path,
        use_sim_time: bool,
        on_line: Callable[[str, str], None] = lambda name, line: None,
        quiet_start: bool = False,
        foreign: Sequence[Foreign] = (),
    ) -> None:
        self._nodes = nodes
        self._foreign = installed(foreign)
        self._log_folder = log_folder
        self._use_sim_time = use_sim_time
        self._on_line = on_line
        self._quiet = quiet_start
        self.processes = ProcessGroup(log_folder, self._pass_on)
        self.client: GraphClient | None = None

    def __enter__(self) -> "Supervisor":
        try:
            os.environ.update(graph_environment())
            for item in self._foreign:
                may_end = isinstance(item, ForeignNode) and item.ends
                self.processes.start(item.label, command_line(item, self._log_folder), may_end=may_end)
            for node in self._nodes:
                self.processes.start(node.name, self._command(node), node.environment)
            self.client = GraphClient("dexvla", self._use_sim_time, self.check)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def bring_up(self) -> None:
        """Configure all nodes, then activate them in order.

        Raises:
            UserError: a node refuses its parameters, or a mistake of the user's keeps it from starting.
            NodeDied, GraphError: something else is wrong.
        """
        names = [node.name for node in self._nodes]
        try:
            self.client.transition(names, "configure", CONFIGURE_TIMEOUT_S)
            for name in names:
                self.client.transition([name], "activate", _ACTIVATE_TIMEOUT_S)
        except TransitionFailed as failure:
            reason = self.processes.last_error(failure.node) or str(failure)
            if failure.is_bug:
                log = self.processes.log(failure.node)
                raise NodeDied(f"{failure.node} could not start: {reason} (see {log}).") from failure
            raise UserError(reason) from failure
        except GraphTimeout as timeout:
            raise GraphTimeout(f"{timeout} What the nodes say is in {self._log_folder}.") from timeout
        self._quiet = False

    def check(self) -> None:
        """Raise if a process of the graph is gone.

        Raises:
            UserError: it refused its parameters. NodeDied: otherwise.
        """
        death = self.processes.death()
        if death is None:
            return
        if death.exit_code == _EXIT_USER_ERROR:
            raise UserError(self.processes.last_line(death.name))
        raise NodeDied(f"{death.name} {death.reason} (see {self.processes.log(death.name)}).")

    def stop(self) -> None:
        """End everything; returns when all processes are reaped."""
        self.processes.stop()
        if self.client is not None:
            self.client.close()
            self.client = None
        if self.processes.any_killed:
            clear_dead_segments()

    def _pass_on(self, name: str, line: str) -> None:
        if not self._quiet:
            self._on_line(name, line)

    def _command(self, node: NodeProcess) -> list[str]:
        command = [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}"]
        # What a node prints is in its log file already.
        command.append("--disable-external-lib-logs")
        for source, target in node.remappings.items():
            command += ["-r", f"{source}:={target}"]
        command += ["--params-file", str(parameter_file())]
        if node.parameters:
            path = write_parameters(self._log_folder, node.name, f"/**/{node.name}", node.parameters)
            command += ["--params-file", path]
        return command
