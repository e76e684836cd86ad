"""What the subcommands that start a graph have in common."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dexvla_model.errors import UserError
from dexvla_ros.bringup import NodeProcess
from dexvla_ros.cli.exit_codes import GRAPH_FAILED
from dexvla_ros.cli.node_output import node_printer
from dexvla_ros.foreign import Foreign


def run_until_interrupted(
    nodes: Sequence[NodeProcess],
    output: Path,
    use_sim_time: bool,
    verbose: bool,
    foreign: Sequence[Foreign] = (),
) -> int:
    """Run a graph until Ctrl-C or until a node dies; the exit code."""
    from dexvla_ros.graph_client import GraphError
    from dexvla_ros.supervisor import Supervisor

    console = Console()
    try:
        show = node_printer(console, verbose)
        with Supervisor(
            nodes, output / "logs", use_sim_time, show, quiet_start=not verbose, foreign=foreign
        ) as supervisor:
            with console.status("Starting the nodes ..."):
                supervisor.bring_up()
            console.print(f"Running: {', '.join(supervisor.processes.names)}. Ctrl-C ends it.")
            while True:
                supervisor.check()
                supervisor.client.turn()
    except GraphError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="bold red", markup=False)
        return GRAPH_FAILED


def make_output_folder(folder: Path) -> None:
    """Make the folder of --output.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output {folder}: the folder cannot be made ({error.strerror}); name another one."
        ) from error
