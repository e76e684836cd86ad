"""A suite runs what is missing, keeps what is done, and its report does not depend on who ran it."""

import json

import pytest

from dexvla_model.errors import UserError
from dexvla_sim.rollout import EpisodeResult
from dexvla_sim.suite import Suite, SuiteEntry, run_suite, write_report
from dexvla_sim.suite.dispatch import EpisodeWorker, run_in_processes, run_on_ray
from dexvla_sim.suite.episode_log import EpisodeLog

# Half a second each: what counts is which are run.
POSTURE = SuiteEntry("script", "scripted", "ur5e", "posture", episodes=3, timeout_s=1.0)
CUBES = SuiteEntry("script", "scripted", "ur5e", "pick_place", episodes=1, timeout_s=1.0)
SUITE = Suite("Short", (POSTURE, CUBES), about="A sentence.")


class Here:
    """Runs the episodes in this process, last first; dies after `fatal` of them."""

    def __init__(self, fatal: int = 100) -> None:
        self.fatal = fatal
        self.seen = []

    def __call__(self, jobs, work):
        worker = EpisodeWorker(jobs)
        for item in reversed(work):
            if len(self.seen) == self.fatal:
                raise KeyboardInterrupt
            self.seen.append(item)
            yield worker.run(item)
        worker.close()


def stub_result(seed: int, success: bool, score: float) -> EpisodeResult:
    return EpisodeResult(
        seed, "do it", success, success, ["a"], 2.0, 0.0, 0, ["arrived"] * success, score, 10.0
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run_suite(SUITE, folder, Here()), folder


def test_an_interrupted_suite_goes_on_and_ends_alike(whole, tmp_path):
    first, second = Here(fatal=2), Here()
    with pytest.raises(KeyboardInterrupt):
        run_suite(SUITE, tmp_path, first)
    seen = []
    report = run_suite(SUITE, tmp_path, second, lambda entry, result: seen.append(result.seed))
    assert sorted(first.seen + second.seen) == [(0, 1000), (0, 1001), (0, 1002), (1, 1000)]
    assert len(seen) == 4
    assert report.to_json() == whole[0].to_json()


def test_processes_give_the_same_report(whole, tmp_path):
    suite = Suite("Short", (SUITE.entries[0],), SUITE.about)
    report = run_suite(suite, tmp_path, lambda jobs, work: run_in_processes(jobs, work, processes=2))
    assert report.to_json()["entries"] == whole[0].to_json()["entries"][:1]


def test_a_finished_suite_runs_nothing_again_unless_told_to(whole, tmp_path):
    _, folder = whole
    again = Here()
    run_suite(SUITE, folder, again)
    assert again.seen == []
    more = Here(fatal=1)
    with pytest.raises(KeyboardInterrupt):
        run_suite(SUITE.with_settings(episodes=4), folder, more)
    assert more.seen == [(1, 1003)]
    with pytest.raises(KeyboardInterrupt):
        run_suite(SUITE, folder, Here(fatal=0), restart=True)
    assert EpisodeLog(folder / "episodes", POSTURE).read() == {}


def test_a_line_cut_short_by_a_kill_is_run_again(tmp_path):
    log = EpisodeLog(tmp_path, POSTURE)
    log.add(stub_result(1000, True, 1.0))
    with log.path.open("a") as file:
        file.write('{"seed": 1001, "instr')
    assert list(log.read()) == [1000]
    log.add(stub_result(1001, False, 0.0))
    assert list(log.read()) == [1000, 1001]


def test_another_checkpoint_or_time_starts_another_log(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_bytes(b"one")
    entry = SuiteEntry("trained", str(folder), "ur5e", "posture")
    before = EpisodeLog(tmp_path, entry).path
    assert EpisodeLog(tmp_path, entry).path == before
    assert (
        EpisodeLog(tmp_path, SuiteEntry("trained", str(folder), "ur5e", "posture", timeout_s=9.0)).path
        != before
    )
    (folder / "weights").write_bytes(b"two")
    assert EpisodeLog(tmp_path, entry).path != before


def test_the_report_says_which_difference_is_real(tmp_path):
    entries = [
        SuiteEntry(label, "scripted", "ur5e", "posture", 20, timeout_s=2.0)
        for label in ("good", "bad", "same")
    ]
    for entry, good in zip(entries, (range(1000, 1020), range(1000, 1004), range(1000, 1019))):
        log = EpisodeLog(tmp_path / "episodes", entry)
        for seed in entry.seeds:
            log.add(stub_result(seed, seed in good, float(seed in good)))
    report = run_suite(Suite("Three", tuple(entries)), tmp_path, Here())
    found = {(first.label, second.label): difference for first, second, difference in report.differences}
    assert found["good", "bad"].p_value < 0.001 and found["good", "same"].p_value == 1.0
    text = report.to_markdown()
    good_bad, good_same = [
        line for line in text.splitlines() if line.startswith("| good |") and "posture |" in line
    ][1:]
    assert "yes, in success and score" in good_bad
    assert "not shown" in good_same
    paths = write_report(report, tmp_path)
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert json.loads(paths[0].read_text())["entries"][0]["success_rate"] == 1.0


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out .*file/x: the folder cannot be made"):
        run_suite(SUITE, tmp_path / "file" / "x", Here())


def test_without_ray_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match="pip install ray"):
        list(run_on_ray([POSTURE.job], [(0, 1000)], "local"))


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_report(whole, tmp_path):
    pytest.importorskip("ray")
    report = run_suite(SUITE, tmp_path, lambda jobs, work: run_on_ray(jobs, work, "local", workers=2))
    assert report.to_json() == whole[0].to_json()
