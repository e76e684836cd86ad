"""`dexvla bench`: how fast this machine is with what this project does."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from dexvla_ros.cli.bench_data import data

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True, rich_markup_mode="markdown")

AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")]
app.command()(data)


@app.command()
def model(
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Which model: tiny, scaledp-l, scaledp-h, qwen2-vl-2b, qwen2.5-vl-3b or qwen3-vl-2b; may be "
            "repeated. Default: the first four.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="Type of the computation: float32 or bfloat16; may be repeated. Default: both.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to compute, as torch names it, such as cpu or cuda:0.")
    ] = "cpu",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of a matrix product; 0 means one per CPU core.")
    ] = 0,
    repeats: Annotated[
        int, typer.Option(min=1, help="How often each alternative runs; medians are shown.")
    ] = 5,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Time torch.compile, too (needs a C++ compiler).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time inference beside a straightforward baseline.

    Both run alternating in one process, with random weights. **floor** is what the machine's own rates allow:
    reading the weights, and doing the multiplications.
    """
    from dexvla_model.benchmark.model import DEFAULT_SIZES, DTYPES, benchmark_model

    console = Console(stderr=True)
    with console.status("starting") as status:
        rows = benchmark_model(
            size or DEFAULT_SIZES,
            dtype or DTYPES,
            device,
            threads,
            repeats,
            compile_network=compiled,
            progress=lambda what: status.update(f"measuring {what}"),
        )
    if as_json:
        print(json.dumps({"device": device, "rows": [row.to_json() for row in rows]}))
        return
    table = Table("what", "baseline ms", "ours ms", "ratio", "floor ms", "ours / floor", "notes")
    for column in table.columns[1:6]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            row.name,
            *(_number(value) for value in (row.baseline_ms, row.ours_ms, row.ratio, row.floor_ms)),
            _number(row.ours_ms / row.floor_ms if row.floor_ms else float("nan")),
            row.notes,
        )
    Console().print(table)


@app.command()
def stream(
    robot: Annotated[
        str, typer.Option(help="Robot: a name in config/robots, or the path of a robot file.")
    ] = "ur5e",
    duration_s: Annotated[float, typer.Option("--duration", min=6.0, help="Simulated seconds.")] = 30.0,
    chunk_hz: Annotated[float, typer.Option(min=0.1, help="Chunks per second.")] = 8.0,
    as_json: AsJson = False,
) -> None:
    """Time the planning of trajectories from made-up chunks, and how closely they follow them."""
    from dexvla_model.robot import load_robot
    from dexvla_model.streaming.benchmark import benchmark_stream

    figures = benchmark_stream(load_robot(robot), duration_s=duration_s, chunk_hz=chunk_hz)
    if as_json:
        print(json.dumps(figures))
        return
    names = list(dict.fromkeys(name for kind in figures.values() for name in kind))
    table = Table("figure", *figures)
    for name in names:
        table.add_row(name, *(_number(kind.get(name, float("nan"))) for kind in figures.values()))
    Console().print(table)


@app.command()
def seams(
    robot: Annotated[
        list[str] | None,
        typer.Option(
            help="Robot: a name in config/robots, or the path of a robot file; may be repeated. Default: all.",
            show_default=False,
        ),
    ] = None,
    duration_s: Annotated[float, typer.Option("--duration", min=2.0, help="Simulated seconds of a run.")] = 4.0,
    processes: Annotated[int, typer.Option(min=0, help="Parallel processes; 0 means one per CPU core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure continuity where one trajectory follows another, on what controllers at 500 Hz would send.

    Chunks of smooth and of random motion at 5, 15 and 30 Hz, with 0 to 300 ms of inference and jitter.
    Steps of velocity and acceleration between updates are **shares** of what the limits of acceleration and
    jerk allow: 1 is the limit, anything above is no continuous motion.
    """
    import os
    from dataclasses import asdict

    from dexvla_model.errors import UserError
    from dexvla_model.resources import list_resources
    from dexvla_sim.seam_sweep import seam_cases, sweep_seams

    robots = robot or [name.removesuffix(".yaml") for name in list_resources("config/robots")]
    cases = seam_cases(robots, duration_s)
    console = Console(stderr=True)
    with console.status("starting") as status:
        done = []

        def note(figures) -> None:
            done.append(figures)
            status.update(f"{len(done)} of {len(cases)} runs")

        results = sweep_seams(cases, processes or os.cpu_count() or 1, note)
    if as_json:
        print(json.dumps([{**asdict(each), "continuous": each.continuous} for each in results]))
    else:
        table = Table(Column("robot", no_wrap=True), "motion", "runs", "seams", "velocity step at seams", "elsewhere",
                      "acceleration step at seams", "elsewhere", "continuous")
        for name in robots:
            for motion in dict.fromkeys(case.motion for case in cases):
                group = [each for each in results if (each.case.robot, each.case.motion) == (name, motion)]
                figures = (
                    max(getattr(each, key) for each in group)
                    for key in ("velocity_at_seams", "velocity_elsewhere", "acceleration_at_seams",
                                "acceleration_elsewhere")
                )
                table.add_row(name, motion, str(len(group)), str(sum(each.seams for each in group)),
                              *(f"{value:.4f}" for value in figures),
                              "yes" if all(each.continuous for each in group) else "NO")
        Console().print(table)
    broken = [each.case for each in results if not each.continuous]
    if broken:
        raise UserError(f"{len(broken)} of {len(results)} runs are not continuous, the first with {broken[0]}.")


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
