"""The outcome of a suite as a picture: success and score with intervals, a panel per robot and task."""

from pathlib import Path

from dexvla_sim.suite.report import SuiteReport

_COLOURS = {"success": "#1b6ca8", "mean score": "#e08a1e"}


def write_plot(report: SuiteReport, path: Path) -> None:
    """Write a PNG of dots with 95 % intervals."""
    # Imported here because it takes most of a second.
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((entry.robot, entry.task) for entry, _ in report.rows))
    counts = [sum((entry.robot, entry.task) == panel for entry, _ in report.rows) for panel in panels]
    figure = Figure(figsize=(7.5, 1.1 * len(panels) + 0.45 * len(report.rows) + 0.6), layout="constrained")
    grid = figure.subplots(
        len(panels), 1, squeeze=False, sharex=True, height_ratios=[count + 1 for count in counts]
    )
    for (robot, task), axes in zip(panels, grid[:, 0]):
        rows = [(entry, found) for entry, found in report.rows if (entry.robot, entry.task) == (robot, task)]
        for place, (_, found) in enumerate(rows):
            values = {
                "success": (found.success_rate, found.interval),
                "mean score": (found.mean_score, found.score_interval),
            }
            for (name, (value, (low, high))), shift in zip(values.items(), (-0.13, 0.13)):
                # Rounding can put an interval's end a hair on the wrong side.
                lengths = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
                axes.errorbar(
                    [value], [place + shift], xerr=lengths, fmt="o", capsize=3, color=_COLOURS[name],
                    label=name if place == 0 else None,
                )  # fmt: skip
        axes.set_yticks(range(len(rows)), [entry.label for entry, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_title(f"{task} on {robot}", loc="left", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    grid[0, 0].legend(loc="lower left", bbox_to_anchor=(0.55, 1.0), ncols=2, frameon=False, fontsize=9)
    grid[-1, 0].set_xlabel("share; bars are 95 % intervals")
    figure.suptitle(report.suite.title, fontsize=11)
    figure.savefig(path, dpi=120)
