"""The outcome of a suite as JSON and Markdown: rates, milestones, and which differences are real."""

from dataclasses import asdict
from itertools import combinations

from dexvla_sim.evaluation import EvaluationReport
from dexvla_sim.rollout import InferenceLatency
from dexvla_sim.significance import CONFIDENCE, PairedDifference, paired_difference
from dexvla_sim.suite.entries import Suite, SuiteEntry


class SuiteReport:
    """One `EvaluationReport` per entry of a suite, in its order.

    Attributes:
        differences: of every two entries on the same robot, task and time allowed, on the seeds that both
            have.
    """

    def __init__(self, suite: Suite, reports: list[EvaluationReport]) -> None:
        self.suite = suite
        self.rows = list(zip(suite.entries, reports))
        self.differences: list[tuple[SuiteEntry, SuiteEntry, PairedDifference]] = []
        for (first, one), (second, other) in combinations(self.rows, 2):
            if (first.robot, first.task, first.time_limit_s) != (second.robot, second.task, second.time_limit_s):
                continue
            ones = {episode.seed: (episode.success, episode.score) for episode in one.episodes}
            others = {episode.seed: (episode.success, episode.score) for episode in other.episodes}
            seeds = sorted(ones.keys() & others.keys())
            if seeds:
                difference = paired_difference(
                    [ones[seed] for seed in seeds], [others[seed] for seed in seeds]
                )
                self.differences.append((first, second, difference))

    def to_json(self) -> dict:
        """A JSON-able dict."""
        return {
            "title": self.suite.title,
            "about": self.suite.about,
            "entries": [
                {
                    "label": entry.label,
                    "first_seed": entry.seed,
                    "timeout_s": entry.time_limit_s,
                    **report.to_json(),
                }
                for entry, report in self.rows
            ],
            "differences": [
                {"first": first.label, "second": second.label, "robot": first.robot, "task": first.task}
                | asdict(difference)
                for first, second, difference in self.differences
            ],
        }

    def to_markdown(self) -> str:
        """Tables for people."""
        parts = [
            f"# {self.suite.title}",
            self.suite.about,
            self._rates(),
            _settings(),
            "## How far the episodes came",
        ]
        parts += [
            "Share of the episodes that reached each milestone; the score of an episode is the share of "
            "milestones that it reached.",
            *self._milestones(),
        ]
        if self.differences:
            parts += ["## Differences on the same seeds", self._comparisons(), _COMPARED]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _rates(self) -> str:
        header = (
            "policy", "robot", "task", "episodes (seeds)", "success", "95 % (Wilson)", "mean score",
            "95 % (bootstrap)",
            "said done", "mean squared jerk, rad²/s⁶ (95 %)", "duration",
        )  # fmt: skip
        rows = []
        for entry, report in self.rows:
            low, high = report.jerk_interval
            rows.append(
                (
                    entry.label,
                    entry.robot,
                    entry.task,
                    f"{entry.episodes} ({entry.seeds[0]} to {entry.seeds[-1]})",
                    f"{report.success_rate:.0%}",
                    f"{report.interval[0]:.0%} to {report.interval[1]:.0%}",
                    f"{report.mean_score:.2f}",
                    f"{report.score_interval[0]:.2f} to {report.score_interval[1]:.2f}",
                    f"{report.mean('finished'):.0%}",
                    f"{report.mean('mean_squared_jerk'):.0f} ({low:.0f} to {high:.0f})",
                    f"{report.mean('duration_s'):.1f} s of {entry.time_limit_s:g} s",
                )
            )
        return _table(header, rows)

    def _milestones(self) -> list[str]:
        """One table per robot and task."""
        tables = []
        for robot, task in dict.fromkeys((entry.robot, entry.task) for entry, _ in self.rows):
            rows = [
                (entry, report) for entry, report in self.rows if (entry.robot, entry.task) == (robot, task)
            ]
            header = (f"{task} on {robot}", *rows[0][1].milestones, "success")
            cells = [
                (
                    entry.label,
                    *(f"{rate:.0%}" for rate in report.milestone_rates().values()),
                    f"{report.success_rate:.0%}",
                )
                for entry, report in rows
            ]
            tables.append(_table(header, cells))
        return tables

    def _comparisons(self) -> str:
        header = (
            "first", "second", "robot, task", "seeds", "success, first minus second (95 %)",
            "only first / only second",
            "McNemar p", "score, first minus second (95 %)", "is the difference real?",
        )  # fmt: skip
        rows = []
        for first, second, found in self.differences:
            low, high = found.success_interval
            rows.append(
                (
                    first.label,
                    second.label,
                    f"{first.robot}, {first.task}",
                    str(found.seeds),
                    f"{found.success:+.0%} ({low:+.0%} to {high:+.0%})",
                    f"{found.only_first} / {found.only_second}",
                    f"{found.p_value:.3g}",
                    f"{found.score:+.2f} ({found.score_interval[0]:+.2f} to {found.score_interval[1]:+.2f})",
                    verdict(found),
                )
            )
        return _table(header, rows)


_COMPARED = (
    "Both policies met the same scenes, so they are compared scene by scene: McNemar's exact test on the "
    "episodes in which one alone succeeded, and the paired bootstrap for the differences. The p-values are "
    "not corrected for the number of comparisons."
)


def verdict(difference: PairedDifference) -> str:
    """Whether the difference is more than chance would give at 5 %."""
    low, high = difference.score_interval
    real = []
    if difference.p_value < 1.0 - CONFIDENCE:
        real.append("success")
    if low > 0.0 or high < 0.0:
        real.append("score")
    return f"yes, in {' and '.join(real)}" if real else "not shown"


def _settings() -> str:
    latency = InferenceLatency()
    return (
        f"Inference takes simulated time, the same for all: {latency.reason_s:g} s to reason, "
        f"{latency.act_s:g} s to act, an answer every {latency.act_period_s:g} s at most. "
        "*Said done*: the policy itself ended the episode."
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
