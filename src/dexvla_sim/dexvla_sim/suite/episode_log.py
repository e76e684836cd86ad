"""Episodes that are done, kept on disk one per line, so that an interrupted suite goes on where it was."""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from dexvla_model.robot import load_robot
from dexvla_sim.evaluation import SUCCESS_HELD_S
from dexvla_sim.policies import SCRIPTED, find_checkpoint
from dexvla_sim.rollout import EpisodeResult
from dexvla_sim.suite.entries import SuiteEntry


class EpisodeLog:
    """The episodes of one entry.

    The file's name holds a fingerprint of all that decides their outcome besides the code: robot file, task,
    time allowed, latencies and the policy's weights. A checkpoint that was trained further starts a new file.

    Raises:
        UserError: there is no such robot or checkpoint.
    """

    def __init__(self, folder: Path, entry: SuiteEntry) -> None:
        words = "_".join((entry.label, entry.robot, entry.task))
        slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
        self.path = folder / f"{slug}.{_fingerprint(entry)}.jsonl"

    def read(self) -> dict[int, EpisodeResult]:
        """The kept episodes by seed; a line that was cut short by a kill is taken off the file."""
        if not self.path.exists():
            return {}
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole)
        results = [EpisodeResult(**json.loads(line)) for line in whole.splitlines()]
        return {result.seed: result for result in results}

    def add(self, result: EpisodeResult) -> None:
        """Keep an episode."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def forget(self) -> None:
        """Remove what was kept."""
        self.path.unlink(missing_ok=True)


def _fingerprint(entry: SuiteEntry) -> str:
    job = entry.job
    digest = hashlib.sha256()
    robot = load_robot(entry.robot)
    for text in (robot.text, robot.urdf_xml(), entry.task, f"{job.time_limit_s} {SUCCESS_HELD_S} {job.latency}"):
        digest.update(text.encode() + b"\0")
    if entry.policy == SCRIPTED:
        digest.update(SCRIPTED.encode())
    else:
        folder = find_checkpoint(entry.policy)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(str(file.relative_to(folder)).encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]
