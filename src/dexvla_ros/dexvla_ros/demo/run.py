"""`dexvla demo` itself: a graph of its own, episodes in it, and what is said of them."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dexvla_model.robot import load_robot
from dexvla_ros.bringup import GraphOptions, RecorderOptions, recorder_process, simulated_graph
from dexvla_ros.cli.exit_codes import GRAPH_FAILED, SUCCESS, TASK_FAILED
from dexvla_ros.cli.node_output import node_printer
from dexvla_ros.command_recorder import load_recording
from dexvla_ros.command_report import CommandReport, report_commands
from dexvla_ros.demo.episode_recording import EpisodeRecording
from dexvla_ros.demo.outcome import EpisodeOutcome, summarise
from dexvla_ros.demo.task_session import TaskSession
from dexvla_ros.demo.video import EpisodeVideo
from dexvla_ros.graph_client import GraphError
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor
from dexvla_sim.tasks import time_limit_s


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does: one episode per seed.

    Attributes:
        instruction: None = what each world asks for.
        timeout_s: of an episode, in simulated time; None = the task's own limit.
        output: folder for videos and logs.
        record: record every episode; None = do not. operator, tags: what its metadata say.
        attach: the graph runs already, in this ROS domain.
    """

    graph: GraphOptions
    seeds: Sequence[int]
    instruction: str | None
    timeout_s: float | None
    output: Path
    video: bool
    record: RecorderOptions | None = None
    operator: str = ""
    tags: tuple[str, ...] = ()
    attach: bool = False


def run_demo(plan: DemoPlan, json_only: bool, verbose: bool) -> int:
    """Run it; the exit code. With `json_only` what is meant for people goes to stderr."""
    console = Console(stderr=json_only, highlight=False, soft_wrap=True)
    outcomes: list[EpisodeOutcome] = []
    try:
        with nullcontext() if plan.attach else own_domain():
            _run_episodes(plan, console, verbose, outcomes)
    except GraphError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            str(error), style="bold red", markup=False
        )
        return GRAPH_FAILED
    summary = summarise(outcomes)
    if plan.graph.record_commands:
        report = _report_commands(plan.graph, console)
        summary["commands"] = report.to_json()
    if len(outcomes) > 1 or plan.graph.record_commands:
        console.print(f"[bold]{summary['successes']} of {summary['episodes']} episodes succeeded.[/bold]")
        print(json.dumps(summary), flush=True)
    return SUCCESS if all(outcome.success for outcome in outcomes) else TASK_FAILED


def _run_episodes(plan: DemoPlan, console: Console, verbose: bool, outcomes: list[EpisodeOutcome]) -> None:
    robot = load_robot(plan.graph.robot)
    limit_s = time_limit_s(plan.graph.task, plan.timeout_s)
    nodes = () if plan.attach else simulated_graph(plan.graph)
    if plan.record is not None:
        nodes = (*nodes, recorder_process(plan.record, use_sim_time=True))
    show = node_printer(console, verbose)
    with Supervisor(nodes, plan.output / "logs", True, show, quiet_start=not verbose) as supervisor:
        with console.status("Starting simulation and nodes ..."):
            supervisor.bring_up()
            recording = EpisodeRecording(supervisor.client, plan.record, plan.operator, plan.tags)

            def on_sub_step(text: str, time_s: float) -> None:
                _print_sub_step(console, text, time_s)
                recording.mark(text)

            session = TaskSession(supervisor.client, robot, plan.graph.policy, on_sub_step)
            session.wait_until_ready()
            recording.wait_until_ready()
        for number, seed in enumerate(plan.seeds):
            asked = session.reset(seed)
            told = plan.instruction or asked
            console.print(f"\n[bold cyan]{told}[/bold cyan]  [dim]episode {number + 1}, seed {seed}[/dim]")
            video = None
            if plan.video:
                video = EpisodeVideo(plan.output / f"seed_{seed:04d}.mp4", robot.cameras, told)
            recording.start(told)
            try:
                outcome = session.run(seed, told, limit_s, video)
            except GraphError as error:
                holds = session.wait_until_at_rest()
                console.print(
                    "The robot holds." if holds else "The robot's state is unknown.", style="yellow"
                )
                print(json.dumps(session.broken_off(seed, told, video, str(error)).to_json()), flush=True)
                raise
            finally:
                if video is not None:
                    video.close()
            outcomes.append(outcome)
            bag = recording.judge(outcome.success)
            _print_outcome(console, outcome)
            if bag:
                console.print(f"  [dim]recorded: {bag}[/dim]")
            print(json.dumps(outcome.to_json()), flush=True)
            if outcome.error is not None:
                raise GraphError(f"The episode failed: {outcome.error}")


def _report_commands(graph: GraphOptions, console: Console) -> CommandReport:
    report = report_commands(load_recording(Path(graph.record_commands)), load_robot(graph.robot))
    verdict = "[green]within[/green]" if report.within_limits else "[red]beyond[/red]"
    console.print(
        f"{report.updates} commands {verdict} the limits (largest share: "
        f"velocity {report.velocity_share:.1%}, acceleration {report.acceleration_share:.1%}, "
        f"jerk {report.jerk_share:.1%}); largest step in velocity at {report.seams} seams "
        f"{report.seam_velocity_step_rad_s:.4f} rad/s, elsewhere {report.other_velocity_step_rad_s:.4f} rad/s."
    )
    return report


def _print_sub_step(console: Console, text: str, time_s: float) -> None:
    console.print(f"[dim]{time_s:6.1f} s[/dim]  {text}")


def _print_outcome(console: Console, outcome: EpisodeOutcome) -> None:
    verdict = (
        "[bold green]succeeded[/bold green]" if outcome.success else "[bold red]did not succeed[/bold red]"
    )
    details = f"{outcome.duration_s:.1f} s"
    if outcome.error:
        details += f"; {outcome.error}"
    console.print(f"  {verdict} [dim]({details})[/dim]")
    if outcome.video:
        console.print(f"  [dim]video: {outcome.video}[/dim]")
