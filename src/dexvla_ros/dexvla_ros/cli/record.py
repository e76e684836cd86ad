"""`dexvla record`: episodes of a robot that moves, as rosbag2 directories."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def record(
    robot: options.Robot = "ur5e",
    out: Annotated[
        Path, typer.Option(help="Folder for the episodes, one bag each.")
    ] = Path("outputs/episodes"),
    instruction: Annotated[
        str, typer.Option(help="What the robot is going to do, in plain words. Default: it is asked for.")
    ] = "",
    operator: Annotated[str, typer.Option(help="Who demonstrates.")] = "",
    tag: Annotated[
        list[str] | None,
        typer.Option(help="A word to find the episodes by. May be repeated.", show_default=False),
    ] = None,
    sub_step: Annotated[
        list[str] | None,
        typer.Option(
            help="A sub-step, in their order; key **m** marks where the next one begins. May be repeated.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Record this topic, too. May be repeated.", show_default=False),
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="Record all topics whose absolute name matches this regular expression, too.")
    ] = "",
    with_simulation: Annotated[
        bool, typer.Option("--sim", help="Start the simulated robot, too; drive it with **dexvla teleop**.")
    ] = False,
    demo: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="Record a demonstrator in simulation: **scripted**, or a checkpoint; physics is the judge.",
        ),
    ] = "",
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Follow the clock of a simulation that runs elsewhere.")
    ] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="Only keys and screen: recorder_node runs already, by launch.")
    ] = False,
    repair: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Make bags whole that were cut off, and do nothing else.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float, typer.Option(min=0.0, help="Without keys: seconds per episode; 0 = until Ctrl-C.")
    ] = 0.0,
    episodes: Annotated[
        int, typer.Option(min=1, help="Without keys, or with --demo: how many episodes.")
    ] = 1,
    outcome: Annotated[
        str, typer.Option(help="Without keys: the verdict, **success**, **failure** or **unjudged**.")
    ] = "unjudged",
    config: Annotated[
        Path | None,
        typer.Option(
            help="Keys and gamepad buttons. Default: config/recording/operator.yaml.", show_default=False
        ),
    ] = None,
    task: options.TaskName = None,
    seed: options.Seed = 0,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/record"),
    verbose: options.Verbose = False,
) -> int:
    """Record what the robot sees and does: **enter** starts an episode, **s**, **f** or **x** judges it.

    Everything that the robot file names is written as it comes, one rosbag2 directory (MCAP) per episode. An
    episode that was cut off loses less than a second, and is repaired at the next start. Where standard input
    is no terminal, or with --duration, the options decide and a JSON line is printed per episode.
    """
    end_by_keyboard_interrupt()
    if repair is not None:
        return _repair(repair)
    from dexvla_model.errors import UserError
    from dexvla_ros.bringup import (
        GraphOptions,
        RecorderOptions,
        checked,
        checked_recorder,
        recorder_process,
        sim_process,
    )
    from dexvla_ros.recording.episode_metadata import OUTCOMES
    from dexvla_ros.recording.operator_file import load_operator_file

    if outcome not in OUTCOMES:
        raise UserError(f"--outcome is {outcome!r} (allowed: {', '.join(OUTCOMES)}); name one of these.")
    recorder = RecorderOptions(robot, str(out), tuple(topic or ()), pattern)
    if demo:
        from dexvla_ros.demo.run import DemoPlan, run_demo

        graph = checked(GraphOptions(robot=robot, policy=demo, task=task or "", seed=seed))
        plan = DemoPlan(
            graph,
            range(seed, seed + episodes),
            instruction or None,
            timeout_s=duration or None,
            output=output,
            video=False,
            record=checked_recorder(recorder),
            operator=operator,
            tags=tuple(tag or ()),
        )
        return run_demo(plan, json_only=False, verbose=verbose)
    from dexvla_ros.cli.record_session import RecordPlan, is_interactive, run_record_session

    if not instruction and not is_interactive(duration):
        raise UserError(
            "--instruction is missing, and there is nobody to ask; say what the robot is going to do."
        )
    file = load_operator_file(config or "")
    sim_time = with_simulation or use_sim_time
    nodes = [] if attach else [recorder_process(checked_recorder(recorder), sim_time)]
    if with_simulation:
        graph = checked(
            GraphOptions(robot=robot, policy="scripted", task=task or "", seed=seed), policy_drives=False
        )
        nodes.insert(0, sim_process(graph))
    plan = RecordPlan(instruction, operator, tag or (), sub_step or (), episodes, duration, outcome)
    return run_record_session(nodes, plan, file, output / "logs", sim_time, verbose)


def _repair(path: Path) -> int:
    from rich.console import Console

    from dexvla_model.errors import UserError
    from dexvla_ros.cli.exit_codes import SUCCESS, USER_ERROR
    from dexvla_ros.recording.repair import find_bags, is_cut_off, repair_bag

    console = Console(soft_wrap=True, highlight=False)
    code = SUCCESS
    bags = find_bags(path)
    with console.status("Looking at the bags ...") as status:
        for number, bag in enumerate(bags):
            status.update(f"{number + 1} of {len(bags)}: {bag}")
            if not is_cut_off(bag):
                console.print(f"{bag}: whole, nothing to do.", markup=False)
                continue
            try:
                console.print(repair_bag(bag).sentence(), markup=False)
            except UserError as error:
                Console(stderr=True, soft_wrap=True).print(str(error), style="bold red", markup=False)
                code = USER_ERROR
    return code
