"""The terminal of `dexvla record`: nodes, keys, screen; or, without a terminal, what the options say."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.live import Live

from dexvla_ros.bringup import NodeProcess
from dexvla_ros.cli.exit_codes import GRAPH_FAILED, INTERRUPTED, SUCCESS
from dexvla_ros.cli.node_output import node_printer
from dexvla_ros.cli.record_screen import record_screen
from dexvla_ros.graph_client import GraphError
from dexvla_ros.recording.episode_metadata import read_bag_information, read_episode_metadata
from dexvla_ros.recording.operator_file import OperatorFile
from dexvla_ros.recording.operator_session import OperatorSession
from dexvla_ros.recording.recorder_client import RecorderClient
from dexvla_ros.supervisor import Supervisor
from dexvla_ros.teleop.terminal import Terminal


@dataclass(frozen=True)
class RecordPlan:
    """What the command was told.

    Attributes:
        sub_steps: texts of the marks, in their order.
        episodes, duration_s: without a terminal, or with a duration: so many episodes of so many seconds;
            duration_s 0 = until an interrupt.
        outcome: verdict on these.
    """

    instruction: str
    operator: str
    tags: Sequence[str]
    sub_steps: Sequence[str]
    episodes: int
    duration_s: float
    outcome: str


def is_interactive(duration_s: float) -> bool:
    """Whether the operator decides by keys."""
    return sys.stdin.isatty() and not duration_s


def run_record_session(
    nodes: Sequence[NodeProcess],
    plan: RecordPlan,
    file: OperatorFile,
    logs: Path,
    use_sim_time: bool,
    verbose: bool,
) -> int:
    """Record until the operator quits, or what the options ask for is done; the exit code."""
    interactive = is_interactive(plan.duration_s)
    console = Console(stderr=not interactive, soft_wrap=True, highlight=False)
    try:
        with ExitStack() as stack:
            terminal = stack.enter_context(Terminal()) if interactive else None
            show = node_printer(console, verbose)
            supervisor = stack.enter_context(
                Supervisor(nodes, logs, use_sim_time, show, quiet_start=not verbose)
            )
            with console.status("Starting the nodes ..."):
                supervisor.bring_up()
            recorder = RecorderClient(supervisor.client)
            if terminal is None:
                return _record_by_options(supervisor, recorder, plan)
            session = OperatorSession(
                supervisor.client,
                recorder,
                file,
                plan.instruction,
                plan.operator,
                plan.tags,
                plan.sub_steps,
            )
            return _record_by_keys(supervisor, session, terminal, console)
    except GraphError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="bold red", markup=False)
        return GRAPH_FAILED


def _record_by_keys(
    supervisor: Supervisor, session: OperatorSession, terminal: Terminal, console: Console
) -> int:
    with Live(record_screen(session), console=console, refresh_per_second=8) as live:
        while not session.quitting:
            supervisor.check()
            supervisor.client.turn()
            for key in terminal.read(0.0):
                session.on_key(key)
            session.do_what_was_asked()
            live.update(record_screen(session))
    for path, outcome in session.finished:
        console.print(f"{outcome:>9}  {path}", markup=False)
    return SUCCESS


def _record_by_options(supervisor: Supervisor, recorder: RecorderClient, plan: RecordPlan) -> int:
    recorder.wait_until_ready()
    for _ in range(plan.episodes):
        path = recorder.start(plan.instruction, plan.operator, plan.tags)
        end_s = monotonic() + plan.duration_s if plan.duration_s else float("inf")
        interrupted = False
        try:
            while monotonic() < end_s:
                supervisor.check()
                supervisor.client.turn()
                if not recorder.recording and recorder.status.path == str(path) and recorder.status.warning:
                    raise GraphError(recorder.status.warning)
        except KeyboardInterrupt:
            interrupted = True
        recorder.judge(plan.outcome)
        information, metadata = read_bag_information(path), read_episode_metadata(path)
        line = {
            "path": str(path),
            "outcome": metadata.outcome,
            "seconds": round(information["duration"]["nanoseconds"] / 1e9, 3),
            "messages": information["message_count"],
            "drops": sum(metadata.drops.values()),
        }
        print(json.dumps(line), flush=True)
        if interrupted:
            return INTERRUPTED if plan.duration_s else SUCCESS
    return SUCCESS
