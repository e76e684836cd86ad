"""What a suite's file and the command line make of entries, and what is refused."""

import pytest

from dexvla_model.errors import UserError
from dexvla_sim.suite import load_suite, suite_of
from dexvla_sim.suite.entries import find_suite

FILE = """
title: Two and one
about: >
  A sentence
  over two lines.
episodes: 7
timeout_s: 12
entries:
  - {policy: outputs/long_name/best, robot: ur5e, task: pick_place}
  - {label: another, policy: scripted, robot: franka, task: posture, episodes: 2, seed: 5}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(FILE)
    return path


def test_an_entrys_own_settings_go_before_the_files(file):
    suite = load_suite(file)
    first, second = suite.entries
    assert suite.about == "A sentence over two lines."
    assert (first.label, first.seeds, first.timeout_s) == ("long_name", range(1000, 1007), 12.0)
    assert (second.label, second.seeds, second.timeout_s) == ("another", range(5, 7), 12.0)


def test_settings_of_the_command_line_go_before_all(file):
    first, second = load_suite(file).with_settings(episodes=3, timeout_s=4.0).entries
    assert (first.seeds, second.seeds) == (range(1000, 1003), range(5, 8))
    assert first.timeout_s == second.timeout_s == 4.0


def test_who_names_no_time_limit_gets_that_of_the_task(file):
    file.write_text(FILE.replace("timeout_s: 12\n", ""))
    assert [entry.time_limit_s for entry in load_suite(file).entries] == [30.0, 30.0]
    ((two, four),) = [suite_of(["scripted"], ["fr3:table_bussing", "fr3:table_bussing_4"]).entries]
    assert (two.time_limit_s, four.time_limit_s) == (45.0, 85.0)


def test_policies_times_pairs():
    entries = suite_of(["scripted", "other/folder"], ["ur5e:pick_place", "franka:posture"]).entries
    assert [(entry.label, entry.robot, entry.task) for entry in entries] == [
        ("scripted", "ur5e", "pick_place"),
        ("folder", "ur5e", "pick_place"),
        ("scripted", "franka", "posture"),
        ("folder", "franka", "posture"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("robot: ur5e, ", "", r"entries\[0\].robot is missing"),
        ("label: another", "name: another", r"entries\[1\].name is no known key"),
        ("episodes: 7", "episodes: 0", r"episodes is 0, but it has to lie in"),
        ("entries:", "rows:", "entries is missing"),
    ],
)
def test_a_mistake_in_the_file_names_the_key(file, old, new, words):
    file.write_text(FILE.replace(old, new))
    with pytest.raises(UserError, match=words):
        load_suite(file)


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(UserError, match="two entries are called 'best_one' on ur5e and pick_place"):
        suite_of(["a/best_one", "b/best_one"], ["ur5e:pick_place"])


@pytest.mark.parametrize("pair", ["ur5e", ":pick_place", "ur5e:"])
def test_a_pair_needs_robot_and_task(pair):
    with pytest.raises(UserError, match="--on .* such as ur5e:pick_place"):
        suite_of(["scripted"], [pair])


def test_nothing_to_evaluate_is_answered_with_what_to_give():
    with pytest.raises(UserError, match="--config FILE, or --policy NAME"):
        suite_of([], [])


def test_an_unknown_suite_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="--config nope.*config/evaluation"):
        find_suite("nope")


def test_an_unknown_robot_of_an_entry_is_found_before_anything_runs():
    with pytest.raises(UserError, match="nobody"):
        suite_of(["scripted"], ["ur5e:pick_place", "nobody:posture"]).check()
