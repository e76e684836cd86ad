"""`dexvla bench data`: how fast robots become batches on this machine."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


class DataPart(str, Enum):
    """What can be measured."""

    recording = "recording"
    conversion = "conversion"
    loading = "loading"


def data(
    part: Annotated[
        list[DataPart] | None,
        typer.Option(help="Which part; may be repeated. Default: all.", show_default=False),
    ] = None,
    duration_s: Annotated[
        float, typer.Option("--duration", min=1.0, help="Seconds that are recorded.")
    ] = 60.0,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to write; what is written is deleted. Default: a temporary folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON on standard output.")
    ] = False,
) -> None:
    """Measure the way from a robot that moves to a batch.

    **recording**: three cameras of 640x480 at 30 Hz and joint states at 500 Hz through recorder_node: drops,
    and the share of a core that it takes. Other processes disturb it.

    **conversion**: a bag of such cameras into a dataset of full size and rate, on one core; 20 s unless the
    duration is shorter.

    **loading**: batches of 64 with two views of 224x224 and chunks of 50 rows out of a LeRobot dataset,
    beside a tiny model's training; single frames of videos of 300 to 12,000 frames; the dataset's size beside
    the raw pictures'.
    """
    figures = {}
    with Console(stderr=True).status("measuring") as status:
        if DataPart.recording in (part or DataPart):
            from dexvla_ros.recording.benchmark import benchmark_recording

            status.update(f"recording for {duration_s:g} s")
            figures["recording"] = benchmark_recording(duration_s, folder=folder).to_json()
        if DataPart.conversion in (part or DataPart):
            from dexvla_ros.conversion.benchmark import benchmark_conversion

            status.update("converting")
            figures["conversion"] = benchmark_conversion(min(duration_s, 20.0), folder=folder).to_json()
        if DataPart.loading in (part or DataPart):
            import tempfile

            from dexvla_model.benchmark.data_loading import benchmark_data_loading

            status.update("loading batches of 64")
            with tempfile.TemporaryDirectory(dir=folder) as made:
                figures["loading"] = benchmark_data_loading(Path(made))
    if as_json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        Console().print(_table(name, values))


def _table(name: str, figures: dict) -> Table:
    table = Table(name, "")
    table.columns[1].justify = "right"
    for key, value in figures.items():
        if isinstance(value, dict):
            for entry, number in value.items():
                table.add_row(f"{key} {entry}", f"{number:g}")
        else:
            table.add_row(key, f"{value:g}")
    return table
