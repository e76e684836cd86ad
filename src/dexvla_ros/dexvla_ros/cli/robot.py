"""`dexvla robot`: check a robot's files against each other, and write a first robot file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dexvla_ros.cli.exit_codes import SUCCESS, USER_ERROR

app = typer.Typer(
    help="Check a robot's files against each other, and write a first one from a URDF.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("check")
def check(
    robot: Annotated[
        str,
        typer.Argument(
            help="A name in config/robots, or the path of a robot file that ends in .yaml.",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint whose head has to fit: a folder, or a name in checkpoints/. Default: those that "
            "ship for the robot.",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Look at the running graph, too: topics, rates, QoS, controllers."),
    ] = False,
    seconds: Annotated[float, typer.Option(min=1.0, max=600.0, help="With --live: how long to look.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Compare robot file, URDF, controllers, MoveIt files, drivers and checkpoint: one line for each thing
    that does not fit, with file and key. With --live, compare them with the running graph, too.

    Exit code 2 when a line is an error, 0 otherwise.
    """
    from dexvla_model.resources import checkpoint_folder
    from dexvla_model.robot.check import ERROR
    from dexvla_ros.robot_check import check_robot_and_drivers

    folder = None if checkpoint is None else checkpoint_folder(checkpoint)
    findings = check_robot_and_drivers(robot, folder)
    if live:
        findings = sorted(findings + _live(robot, seconds, as_json), key=lambda one: one.severity != ERROR)
    errors = sum(finding.severity == ERROR for finding in findings)
    if as_json:
        print(json.dumps({"robot": robot, "errors": errors, "findings": [asdict(one) for one in findings]}))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for finding in findings:
            console.print(str(finding), style="red" if finding.severity == ERROR else "yellow", markup=False)
        warnings = len(findings) - errors
        console.print(f"{robot}: {_count(errors, 'error')}, {_count(warnings, 'warning')}.", markup=False)
    raise typer.Exit(USER_ERROR if errors else SUCCESS)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the robot, such as my_arm.", show_default=False)],
    urdf: Annotated[Path, typer.Option(help="Its URDF or xacro file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The robot file. Default: NAME.yaml, in config/robots where that folder stands here.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that stands there.")] = False,
) -> None:
    """Write a first robot file: every moving joint of the URDF, slow guesses for what it does not say."""
    from dexvla_model.errors import UserError
    from dexvla_model.robot.new_file import FILL_IN, new_robot_file

    folder = Path("config/robots")
    path = out or (folder if folder.is_dir() else Path()) / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {path}: a robot file ends in .yaml; name one that does.")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: there is a file already; name another one with --out, or give --overwrite.")
    text = new_robot_file(name, urdf, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror}); name another place.") from error
    marks = text.count(FILL_IN) - 1  # the first one explains the mark
    console = Console(soft_wrap=True, highlight=False)
    console.print(f'Robot file written to {path}. {marks} places say "{FILL_IN}".', markup=False)
    console.print(f"Then: dexvla robot check {path}", markup=False)


@app.command("moveit")
def moveit(
    robot: Annotated[
        str,
        typer.Argument(
            help="A name in config/robots, or the path of a robot file that ends in .yaml.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the files. Default: moveit/NAME beside the folder of the robot file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the MoveIt configuration that robot file and URDF imply: SRDF, kinematics, joint limits, OMPL,
    controllers.

    Which pairs of links need no check for collision is found by looking at random postures: some seconds.
    Poses (group_state) that the SRDF has besides **home** stay.
    """
    from dexvla_model.robot import load_robot
    from dexvla_model.streaming import StreamSettings
    from dexvla_ros.motion.moveit_files import moveit_files, write_moveit_files

    description = load_robot(robot)
    folder = out or description.path.resolve().parent.parent / "moveit" / description.name
    console = Console(soft_wrap=True, highlight=False)
    with console.status("Looking for pairs of links that never meet ..."):
        texts = moveit_files(description, StreamSettings().compliant_controllers)
    write_moveit_files(folder, texts)
    console.print(f"{', '.join(texts)} written to {folder}.", markup=False)


def _live(robot: str, seconds: float, quiet: bool) -> list:
    """What the running graph adds to the findings."""
    from dexvla_model.robot import load_robot
    from dexvla_ros.live_watch import check_live

    console = Console(stderr=quiet, soft_wrap=True, highlight=False)
    with console.status(f"Looking at the graph for {seconds:g} s ..."):
        return check_live(load_robot(robot), seconds)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
