"""`dexvla dataset`: everything that is done with recorded data on disk."""

import typer

from dexvla_ros.cli.dataset_editing import annotate, merge, split
from dexvla_ros.cli.dataset_importing import from_hdf5, from_lerobot
from dexvla_ros.cli.dataset_inspection import info, stats, validate, view
from dexvla_ros.cli.from_bags import from_bags

app = typer.Typer(
    help="Convert, check, show and edit datasets (LeRobot v3.0).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for _command in (from_bags, from_lerobot, from_hdf5, info, validate, stats, view, annotate, merge, split):
    app.command(_command.__name__.replace("_", "-"))(_command)
