"""What a suite evaluates: its entries, from a file (config/evaluation/*.yaml) or from the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.yaml_reader import MappingReader, parse_yaml
from dexvla_sim.evaluation import EvaluationJob

# Demonstrations begin at 100,000: see `dexvla demonstrate`.
FIRST_UNSEEN_SEED = 1000
_EPISODES = 100
_MOST_EPISODES = 90_000


@dataclass(frozen=True)
class SuiteEntry:
    """One row of the table: a policy on a task with a robot.

    Attributes:
        label: what the table calls the policy.
        seed: of the first of `episodes` episodes.
        timeout_s: simulated time allowed per episode; None = the task's own limit.
    """

    label: str
    policy: str
    robot: str
    task: str
    episodes: int = _EPISODES
    seed: int = FIRST_UNSEEN_SEED
    timeout_s: float | None = None

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.episodes)

    @property
    def job(self) -> EvaluationJob:
        return EvaluationJob(self.robot, self.task, self.policy, self.timeout_s)

    @property
    def time_limit_s(self) -> float:
        """Simulated s allowed per episode."""
        return self.job.time_limit_s


@dataclass(frozen=True)
class Suite:
    """A table's title, its rows, and a sentence or two above it."""

    title: str
    entries: tuple[SuiteEntry, ...]
    about: str = ""

    def check(self) -> None:
        """Look whether the entries' robots, tasks and policies are there and suit each other.

        Raises:
            UserError: one of them is wrong.
        """
        for job in dict.fromkeys(entry.job for entry in self.entries):
            job.check()

    def with_settings(
        self, episodes: int | None = None, seed: int | None = None, timeout_s: float | None = None
    ) -> "Suite":
        """The same rows with other settings, where these are given."""
        given = {"episodes": episodes, "seed": seed, "timeout_s": timeout_s}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(self, entries=tuple(replace(entry, **changes) for entry in self.entries))


def find_suite(name: str) -> Path:
    """The file of a suite: a path, or the name of one in config/evaluation.

    Raises:
        UserError: there is none.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = list_resources("config/evaluation", ".yaml")
    if name not in shipped:
        allowed = ", ".join(shipped) or "none yet"
        raise UserError(
            f"--config {name}: there is no such file (in config/evaluation: {allowed}); give one or a path."
        )
    return find_resource(f"config/evaluation/{name}.yaml")


def load_suite(path: Path) -> Suite:
    """Read a suite's file; `episodes`, `seed` and `timeout_s` of an entry go before those of the file.

    Raises:
        UserError: the file is wrong; names the key.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error}); give a suite's YAML file.") from error
    reader = parse_yaml(text, path)
    title = reader.text("title", default=path.stem)
    about = " ".join(reader.text("about", default="-").split())
    defaults = _settings(reader, _EPISODES, FIRST_UNSEEN_SEED, None)
    entries = []
    for row in reader.mappings("entries"):
        policy = row.text("policy")
        entries.append(
            SuiteEntry(
                row.text("label", default=_short(policy)),
                policy,
                row.text("robot"),
                row.text("task"),
                *_settings(row, *defaults),
            )
        )
        row.finish()
    reader.finish()
    return Suite(title, _distinct(entries, str(path)), "" if about == "-" else about)


def suite_of(policies: Sequence[str], pairs: Sequence[str]) -> Suite:
    """Every policy on every ROBOT:TASK.

    Raises:
        UserError: nothing is given, or a pair is not of that form.
    """
    if not policies or not pairs:
        raise UserError(
            "Nothing to evaluate: give --config FILE, or --policy NAME and --on ROBOT:TASK "
            "(both may be repeated)."
        )
    entries = []
    for pair in pairs:
        robot, colon, task = pair.rpartition(":")
        if not (robot and colon and task):
            raise UserError(
                f"--on {pair}: a robot and a task with a colon between are needed, such as ur5e:pick_place."
            )
        entries += [SuiteEntry(_short(policy), policy, robot, task) for policy in policies]
    return Suite("Evaluation", _distinct(entries, "--policy and --on"))


def _settings(
    reader: MappingReader, episodes: int, seed: int, timeout_s: float | None
) -> tuple[int, int, float | None]:
    return (
        reader.integer("episodes", 1, _MOST_EPISODES, default=episodes),
        reader.integer("seed", 0, 2**31 - 1 - _MOST_EPISODES, default=seed),
        reader.number("timeout_s", 1.0, 3600.0) if reader.has("timeout_s") else timeout_s,
    )


def _short(policy: str) -> str:
    """What a policy without a label is called: its folder, or that above one named checkpoint or so."""
    path = Path(policy)
    if path.name in ("best", "checkpoint", "last", "latest"):
        return path.parent.name or path.name
    return path.name or policy


def _distinct(entries: Sequence[SuiteEntry], source: str) -> tuple[SuiteEntry, ...]:
    names = [(entry.label, entry.robot, entry.task) for entry in entries]
    for label, robot, task in names:
        if names.count((label, robot, task)) > 1:
            raise UserError(
                f"{source}: two entries are called {label!r} on {robot} and {task}; "
                "give each a label of its own."
            )
    return tuple(entries)
