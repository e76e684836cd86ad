"""Running a suite: what is missing is run, what is there is kept, and the report is written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_sim.evaluation import EvaluationReport
from dexvla_sim.policies import absolute_name
from dexvla_sim.rollout import EpisodeResult
from dexvla_sim.suite.dispatch import Dispatch
from dexvla_sim.suite.entries import Suite, SuiteEntry
from dexvla_sim.suite.episode_log import EpisodeLog
from dexvla_sim.suite.plot import write_plot
from dexvla_sim.suite.report import SuiteReport
from dexvla_sim.tasks import load_task

EPISODES = "episodes"


def run_suite(
    suite: Suite,
    folder: Path,
    dispatch: Dispatch,
    on_episode: Callable[[SuiteEntry, EpisodeResult], None] = lambda entry, result: None,
    restart: bool = False,
) -> SuiteReport:
    """Evaluate every entry on its seeds. See that `suite.check()` passes first.

    Args:
        folder: episodes that it holds already are not run again.
        dispatch: see `dexvla_sim.suite.dispatch`; the report does not depend on it.
        on_episode: called with every episode, those that were there already first.
        restart: forget the episodes that are there.

    Raises:
        UserError: there is no such robot or checkpoint, or the folder cannot be written to.
    """
    logs, done, work = [], [], []
    for index, entry in enumerate(suite.entries):
        log = EpisodeLog(folder / EPISODES, entry)
        if restart:
            log.forget()
        kept = {seed: result for seed, result in log.read().items() if seed in entry.seeds}
        for result in kept.values():
            on_episode(entry, result)
        logs.append(log)
        done.append(kept)
        work += [(index, seed) for seed in entry.seeds if seed not in kept]
    _prepare(folder)
    # A process elsewhere may stand in another folder.
    jobs = [replace(entry.job, policy=absolute_name(entry.policy)) for entry in suite.entries]
    for (index, seed), result in dispatch(jobs, work):
        logs[index].add(result)
        done[index][seed] = result
        on_episode(suite.entries[index], result)
    reports = [
        EvaluationReport(
            entry.robot, entry.task, entry.policy, list(results.values()), load_task(entry.task).milestones
        )
        for entry, results in zip(suite.entries, done)
    ]
    return SuiteReport(suite, reports)


def write_report(report: SuiteReport, folder: Path) -> list[Path]:
    """Write results.json, results.md and results.png into `folder`; their paths."""
    paths = [folder / f"results.{suffix}" for suffix in ("json", "md", "png")]
    paths[0].write_text(json.dumps(report.to_json(), indent=1) + "\n")
    paths[1].write_text(report.to_markdown())
    write_plot(report, paths[2])
    return paths


def _prepare(folder: Path) -> None:
    try:
        (folder / EPISODES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {folder}: the folder cannot be made ({error.strerror}); choose another."
        ) from error
