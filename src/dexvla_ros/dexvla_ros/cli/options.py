"""Options that several subcommands share, with one help text each."""

from pathlib import Path
from typing import Annotated

import typer

Robot = Annotated[
    str, typer.Option(help="Name of a robot in config/robots, or path of a robot file (.yaml).")
]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="Name of the simulated task. Default: the robot's own.", show_default=False),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="Who drives: **scripted**, or name or folder of a checkpoint. "
        "Default: the checkpoint that ships for the robot and task.",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**31 - 1, help="Decides everything that varies; the next episode takes the next seed."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show everything that the nodes log.")]
RecordCommands = Annotated[
    Path | None,
    typer.Option(
        help="Write what the controllers command at every update to this .npz file.", show_default=False
    ),
]
