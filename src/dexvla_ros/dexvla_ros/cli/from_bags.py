"""`dexvla dataset from-bags`: recorded episodes become a LeRobot dataset."""

import json
import os
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dexvla_ros.cli.dataset_progress import progress_bar
from dexvla_ros.cli.exit_codes import USER_ERROR


def from_bags(
    bags: Annotated[
        list[Path], typer.Argument(help="Bags, or folders of bags, as `dexvla record` writes them.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the dataset; made if absent, added to if it is there.")
    ],
    robot: Annotated[
        str,
        typer.Option(
            help="Robot: a name in config/robots, or a robot file. Default: the one in the first bag."
        ),
    ] = "",
    rate_hz: Annotated[
        float,
        typer.Option("--rate", min=0.0, help="Frames per s. Default: the robot file's rates.action_hz."),
    ] = 0.0,
    image_size: Annotated[
        str,
        typer.Option(help="camera: images as they were recorded; model: as small as the model sees them."),
    ] = "camera",
    slop_s: Annotated[
        float,
        typer.Option(
            "--slop", min=0.0, help="Greatest difference in time within one frame, s; as camera_node's."
        ),
    ] = 0.04,
    allow_gaps: Annotated[
        bool,
        typer.Option(
            "--allow-gaps", help="Make an episode of each stretch between holes, not refuse the bag."
        ),
    ] = False,
    only_success: Annotated[
        bool, typer.Option("--only-success", help="Leave out episodes that were not judged a success.")
    ] = False,
    instruction: Annotated[
        str, typer.Option(help="What the robot was told, for bags that do not say it.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace in which the robot's topics were recorded.")] = "",
    processes: Annotated[int, typer.Option(min=0, help="Bags at a time; 0 means one per CPU core.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output.")
    ] = False,
) -> None:
    """Convert bags into a LeRobot dataset, with the code by which the live nodes see the robot.

    Frames stand where images, joint states and commands belong together; nothing is filled in. A bag with a
    hole is refused and the topic that was silent is named. A conversion that was interrupted goes on where it
    stopped when the same command is given again; bags are never changed.
    """
    from dexvla_model.errors import UserError
    from dexvla_ros.conversion.convert import ConversionJob, convert_bags
    from dexvla_ros.conversion.pictures import SIZES
    from dexvla_ros.conversion.report import CONVERTED, REFUSED

    if image_size not in SIZES:
        raise UserError(f"--image-size is {image_size!r}, allowed are {', '.join(SIZES)}.")
    job = ConversionJob(
        tuple(bags), out, robot, rate_hz, slop_s, image_size, allow_gaps, only_success, instruction, namespace
    )
    with progress_bar("converting") as show:
        done = count(1)
        reports = convert_bags(
            job, processes or os.cpu_count() or 1, progress=lambda report, total: show(next(done), total)
        )
    refused = [report for report in reports if report.result == REFUSED]
    if as_json:
        print(json.dumps({"out": str(out), "bags": [report.to_json() for report in reports]}))
    else:
        table = Table(title=str(out))
        for name in ("bag", "result", "episodes", "frames", "s", "MB", "remarks"):
            table.add_column(name, justify="left" if name in ("bag", "result", "remarks") else "right")
        for report in reports:
            table.add_row(
                Path(report.bag).name,
                report.result,
                str(report.episodes),
                str(report.frames),
                f"{report.duration_s:.1f}",
                f"{report.bytes / 1e6:.1f}",
                "\n".join(report.remarks()),
            )
        Console().print(table)
        converted = [report for report in reports if report.result == CONVERTED]
        Console().print(
            f"{sum(r.episodes for r in converted)} episodes with {sum(r.frames for r in converted)} frames added, "
            f"{len(refused)} bags refused."
        )
    if refused:
        raise typer.Exit(USER_ERROR)
