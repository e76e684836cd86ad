"""`dexvla dataset from-lerobot` and `from-hdf5`: datasets of others, mapped onto one of our robots."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dexvla_ros.cli.dataset_progress import progress_bar
from dexvla_ros.cli.options import Robot

Out = Annotated[
    Path,
    typer.Option(
        help="Folder of the dataset; made if absent, gone on with if it is there.", show_default=False
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        help="YAML that says which columns and cameras are the robot's: keys state, action, cameras. "
        "Default: by name, or by position where there are no names.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    str, typer.Option(help="camera: pictures as they are; model: as small as the model sees them.")
]
Processes = Annotated[int, typer.Option(min=0, help="Episodes at a time; 0 means one per CPU core.")]


def from_lerobot(
    dataset: Annotated[Path, typer.Argument(help="A LeRobot dataset, v2.1 or v3.0.", show_default=False)],
    out: Out,
    robot: Robot = "ur5e",
    mapping: MappingFile = None,
    fps: Annotated[float, typer.Option(min=0.0, help="Frames per s. Default: the dataset's.")] = 0.0,
    state: Annotated[str, typer.Option(help="Feature that is the state.")] = "observation.state",
    action: Annotated[str, typer.Option(help="Feature that is the action.")] = "action",
    image_size: ImageSize = "camera",
    processes: Processes = 0,
) -> None:
    """Make a dataset of one of our robots out of a LeRobot dataset, at another rate if need be.

    A frame at the new rate shows what the dataset had at, or before, its time. An import that was
    interrupted goes on
    where it stopped when the same command is given again.
    """
    from dexvla_model.data.importing.from_lerobot import LeRobotSource

    source = LeRobotSource(dataset, robot, _mapping(mapping, robot), state, action)
    _import(source, robot, fps or source.fps(), image_size, out, processes)


def from_hdf5(
    episodes: Annotated[
        list[Path], typer.Argument(help="HDF5 files, or folders with some.", show_default=False)
    ],
    out: Out,
    fps: Annotated[
        float, typer.Option(min=0.1, help="Rate at which they were recorded; the files do not say it.")
    ],
    robot: Robot = "ur5e",
    mapping: MappingFile = None,
    rate_hz: Annotated[
        float, typer.Option("--rate", min=0.0, help="Frames per s of the dataset. Default: --fps.")
    ] = 0.0,
    shift_actions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Rows by which actions stand too early. Default: 1 for recordings of real robots, as the "
            "published loader does, 0 for simulated ones.",
            show_default=False,
        ),
    ] = None,
    bgr: Annotated[bool, typer.Option("--bgr", help="The pictures are blue, green, red.")] = False,
    image_size: ImageSize = "camera",
    processes: Processes = 0,
) -> None:
    """Make a dataset out of episodes of the published DexVLA code (HDF5, as ALOHA's), compressed pictures
    too.

    An import that was interrupted goes on where it stopped when the same command is given again.
    """
    from dexvla_model.data.importing.from_hdf5 import Hdf5Source, find_episodes

    source = Hdf5Source(find_episodes(episodes), robot, fps, _mapping(mapping, robot), shift_actions, bgr)
    _import(source, robot, rate_hz or fps, image_size, out, processes)


def _mapping(path: Path | None, robot: str):
    from dexvla_model.data.importing.mapping import Mapping, load_mapping
    from dexvla_model.robot import load_robot

    return Mapping() if path is None else load_mapping(path, load_robot(robot))


def _import(source, robot: str, fps: float, image_size: str, out: Path, processes: int) -> None:
    from dexvla_model.data.importing.pipeline import import_episodes
    from dexvla_model.data.lerobot import DatasetSpecification
    from dexvla_model.errors import UserError
    from dexvla_model.robot import load_robot

    if image_size not in ("camera", "model"):
        raise UserError(f"--image-size is {image_size!r}, allowed are camera, model.")
    description = load_robot(robot)
    sizes = source.sizes(description) if image_size == "camera" else None
    specification = DatasetSpecification.of_robot(description, fps, sizes)
    with progress_bar("importing episodes") as progress:
        info = import_episodes(source, specification, out, processes or os.cpu_count() or 1, progress)
    Console(markup=False).print(
        f"{info.total_episodes} episodes, {info.total_frames} frames at {info.fps:g} Hz in {out}."
    )
