"""Checking, annotating, merging, splitting and showing datasets."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dexvla_model.data.lerobot import SubStepMark
from dexvla_model.data.lerobot.annotation import (
    check_annotations,
    export_annotations,
    read_annotations,
    write_annotations,
)
from dexvla_model.data.lerobot.combining import (
    merge_datasets,
    split_by_fractions,
    split_by_success,
    split_dataset,
)
from dexvla_model.data.lerobot.measuring import measure_dataset, write_statistics
from dexvla_model.data.lerobot.page import write_page
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.validation import find_problems
from dexvla_model.errors import UserError

VIDEO = "videos/observation.images.scene/chunk-000/file-000.mp4"
DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def copy(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "copy")
    return tmp_path / "copy"


def change_column(folder, name, change) -> None:
    table = parquet.read_table(folder / DATA)
    field = table.schema.field(name)
    column = pa.array(change(table[name].to_pylist()), type=field.type)
    parquet.write_table(table.set_column(table.column_names.index(name), field, column), folder / DATA)


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


BREAKS = {
    "a missing video": (lambda d: (d / VIDEO).unlink(), "file-000.mp4: the video is missing"),
    "a truncated video": (lambda d: truncate(d / VIDEO), "file-000.mp4"),
    "a missing Parquet file": (lambda d: (d / DATA).unlink(), "cannot be read"),
    "a lost row": (
        lambda d: parquet.write_table(parquet.read_table(d / DATA).slice(1), d / DATA),
        "has 11 rows there",
    ),
    "NaN": (
        lambda d: change_column(d, "action", lambda v: [[float("nan")] * 7, *v[1:]]),
        "action of frame 0 is not finite",
    ),
    "a shifted timestamp": (
        lambda d: change_column(d, "timestamp", lambda v: [*v[:-1], v[-1] + 0.02]),
        "timestamp of frame 6 is 20.00 ms off",
    ),
    "a stamp that goes back": (
        lambda d: change_column(d, "stamp_ns", lambda v: [v[1], v[0], *v[2:]]),
        "stamp_ns goes backwards after frame 0",
    ),
    "a wrong index": (lambda d: change_column(d, "index", lambda v: [9, *v[1:]]), "index does not count up"),
    "an unknown task": (
        lambda d: change_column(d, "task_index", lambda v: [7, *v[1:]]),
        "task_index names a task",
    ),
    "wrong counts": (
        lambda d: (d / "meta/info.json").write_text(
            (d / "meta/info.json").read_text().replace('"total_frames": 28', '"total_frames": 30')
        ),
        "total_frames is 30, but the episodes have 28",
    ),
    "a file that nobody refers to": (
        lambda d: shutil.copy(d / DATA, d / "data/chunk-000/file-007.parquet"),
        "file-007.parquet: no episode refers",
    ),
    "no statistics": (lambda d: (d / "meta/stats.json").unlink(), "stats.json: is missing"),
    "a sub-step outside": (
        lambda d: change_column(
            d, "language_persistent", lambda v: [[{**r, "timestamp": 99.0} for r in c] for c in v]
        ),
        "begins at 99 s, outside",
    ),
    "another robot file": (
        lambda d: (d / "meta/robot.yaml").write_text(
            (d / "meta/robot.yaml").read_text().replace("role: wrist", "role: hand")
        ),
        "no image of the robot's camera hand",
    ),
    "no info": (lambda d: (d / "meta/info.json").unlink(), "is no LeRobot dataset"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named(copy, name):
    damage, expected = BREAKS[name]
    damage(copy)
    problems = [str(problem) for problem in find_problems(copy)]
    assert any(expected in problem for problem in problems), problems


def test_a_dataset_of_others_is_sound_but_for_its_statistics(foreign):
    assert [problem.where for problem in find_problems(foreign, every_frame=True)] == ["meta/stats.json"]


def test_statistics_are_measured_anew(copy):
    reader = DatasetReader(copy)
    before = reader.statistics()
    (copy / "meta/stats.json").unlink()
    write_statistics(reader, measure_dataset(reader))
    after = DatasetReader(copy).statistics()
    for name in ("observation.state", "action", "timestamp"):
        for kind in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(after[name][kind], before[name][kind], rtol=1e-6, atol=1e-9)
    action = reader.columns(["action"])["action"]
    np.testing.assert_allclose(after["action"]["q90"], np.quantile(action.astype(float), 0.9, axis=0))
    np.testing.assert_allclose(
        after["observation.images.wrist"]["mean"], before["observation.images.wrist"]["mean"], atol=0.2
    )


def test_sub_steps_go_out_and_come_back_as_they_were(copy, tmp_path):
    before = DatasetReader(copy).sub_steps()
    assert export_annotations(DatasetReader(copy), tmp_path / "table.csv") == 4
    annotations = read_annotations(tmp_path / "table.csv")
    reader = DatasetReader(copy)
    write_annotations(reader, {0: [], 1: []})
    assert DatasetReader(copy).sub_steps() == {0: [], 1: [], 2: []}
    write_annotations(reader, check_annotations(reader, annotations, tmp_path / "table.csv"))
    assert DatasetReader(copy).sub_steps() == before
    assert find_problems(copy) == []


def test_annotating_a_dataset_without_sub_steps_adds_the_columns(foreign_builder, tmp_path):
    folder = foreign_builder(tmp_path / "data")
    table = tmp_path / "table.csv"
    table.write_text('episode,start,end,text\n1,0.0,0.4,"stir, slowly"\n1,0.4,0.8,stop\n')
    reader = DatasetReader(folder)
    write_annotations(reader, check_annotations(reader, read_annotations(table), table))
    found = DatasetReader(folder)
    assert found.sub_steps() == {
        0: [],
        1: [SubStepMark(0.0, "stir, slowly"), SubStepMark(pytest.approx(0.4), "stop")],
    }
    assert found.info.features["language_events"]["dtype"] == "language"
    assert [problem.where for problem in find_problems(folder)] == ["meta/stats.json"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("0,0.0,0.5,a\n0,0.4,1.2,b\n", "line 3: episode 0: 0.4 to 1.2 s overlaps"),
        ("0,0.0,0.5,a\n0,0.8,1.2,b\n", "line 3: episode 0: there is a gap from 0.5 to 0.8 s"),
        ("0,0.0,0.5,a\n", "gap from 0.5 to its end at 1.2 s"),
        ("0,0.0,9.0,a\n", "outside of the episode, which lasts 1.2 s"),
        ("0,0.5,0.2,a\n", "ends before it begins"),
        ("7,0.0,1.0,a\n", "there is no episode 7, only 0 to 2"),
        ("0,zero,1.0,a\n", "line 2: episode, start and end have to be numbers"),
        ("0,0.0,1.2, \n", "line 2: the text is empty"),
    ],
)
def test_a_wrong_table_changes_nothing_and_its_line_is_named(copy, tmp_path, lines, expected):
    table = tmp_path / "table.csv"
    table.write_text("episode,start,end,text\n" + lines)
    reader = DatasetReader(copy)
    with pytest.raises(UserError, match=expected):
        write_annotations(reader, check_annotations(reader, read_annotations(table), table))


def test_a_table_without_a_column_is_named(tmp_path):
    (tmp_path / "table.csv").write_text("episode,from,to,text\n")
    with pytest.raises(UserError, match="the column start is missing"):
        read_annotations(tmp_path / "table.csv")


def test_gaps_are_taken_when_they_are_allowed(copy, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("episode,start,end,text\n0,0.3,0.6,grasp\n")
    reader = DatasetReader(copy)
    write_annotations(reader, check_annotations(reader, read_annotations(table), table, allow_gaps=True))
    marks = [(round(mark.start_s, 3), mark.text) for mark in DatasetReader(copy).sub_steps()[0]]
    assert marks == [(0.0, ""), (0.3, "grasp"), (0.6, "")]


def test_merged_datasets_hold_all_episodes_in_order(recorded, copy, tmp_path, stripes):
    _, number_in = stripes
    info = merge_datasets([DatasetReader(recorded), DatasetReader(copy)], tmp_path / "merged")
    assert (info.total_episodes, info.total_frames, info.total_tasks) == (6, 56, 2)
    merged, part = DatasetReader(tmp_path / "merged"), DatasetReader(recorded)
    assert [episode.success for episode in merged.episodes] == [True, False, True] * 2
    assert merged.robot.text == part.robot.text
    assert merged.sub_steps()[3] == part.sub_steps()[0]
    images = Pictures(merged).get("observation.images.scene", [0, 13, 28 + 27])
    assert [number_in(image) for image in images] == [0, 51, 106]
    once, twice = Pictures(part).get("observation.images.scene", [13]), Pictures(merged).get(
        "observation.images.scene", [41]
    )
    np.testing.assert_array_equal(once[0], twice[0], "nothing is encoded again")
    assert find_problems(tmp_path / "merged", every_frame=True) == []


def test_a_merge_goes_on_where_it_stopped(recorded, copy, tmp_path, monkeypatch):
    from dexvla_model.data.lerobot import combining

    calls = []

    def stop_after_two(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return original(*arguments)

    original = combining.copy_episode
    monkeypatch.setattr(combining, "copy_episode", stop_after_two)
    readers = [DatasetReader(recorded), DatasetReader(copy)]
    with pytest.raises(KeyboardInterrupt):
        merge_datasets(readers, tmp_path / "merged")
    monkeypatch.undo()
    assert merge_datasets(readers, tmp_path / "merged").total_episodes == 6


def test_datasets_of_different_kinds_are_not_merged(recorded, foreign, tmp_path):
    with pytest.raises(UserError, match="features"):
        merge_datasets([DatasetReader(recorded), DatasetReader(foreign)], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_dataset_of_others_is_split_without_encoding(foreign, tmp_path, stripes):
    _, number_in = stripes
    split_dataset(DatasetReader(foreign), {"second": [1]}, tmp_path / "parts")
    reader = DatasetReader(tmp_path / "parts/second")
    assert [(episode.length, episode.tasks) for episode in reader.episodes] == [(8, ("stir",))]
    for key in ("observation.images.top", "observation.images.still"):
        assert [number_in(image) for image in Pictures(reader).get(key, range(8))] == list(range(11, 19))


def test_a_split_is_the_same_for_the_same_seed(recorded, tmp_path):
    reader = DatasetReader(recorded)
    parts = split_by_fractions(reader, {"train": 0.67, "val": 0.33}, seed=3)
    assert parts == split_by_fractions(reader, {"train": 0.67, "val": 0.33}, seed=3)
    assert sorted(parts["train"] + parts["val"]) == [0, 1, 2] and len(parts["train"]) == 2
    infos = split_dataset(reader, parts, tmp_path / "parts")
    assert infos["train"].total_episodes == 2 and infos["val"].total_episodes == 1
    assert split_by_success(reader) == {"success": [0, 2], "failure": [1]}


def test_a_split_that_cannot_be_is_named(recorded, tmp_path):
    reader = DatasetReader(recorded)
    with pytest.raises(UserError, match="there is no episode 9, only 0 to 2"):
        split_dataset(reader, {"a": [9]}, tmp_path / "parts")
    with pytest.raises(UserError, match="at most 1 together"):
        split_by_fractions(reader, {"a": 0.8, "b": 0.8}, seed=0)
    with pytest.raises(UserError, match="cannot replace"):
        merge_datasets([reader], recorded)


def test_a_page_shows_an_episode_and_needs_nothing_else(recorded, foreign, tmp_path):
    reader = DatasetReader(recorded)
    write_page(reader, reader.episodes[0], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    content = json.loads(page.partition('id="content">')[2].partition("</script>")[0].replace("<\\/", "</"))
    assert [band["text"] for band in content["bands"]] == ["reach", "grasp"]
    assert [plot["title"] for plot in content["plots"]] == ["state", "action"]
    assert {curve["unit"] for curve in content["plots"][0]["curves"]} == {"rad"}
    assert len(content["plots"][1]["curves"][0]["values"]) == 12
    assert [video["name"] for video in content["videos"]] == ["scene", "wrist"]
    assert "pick the cube" in page
    for needed in ("http://", "https://", "src="):
        assert needed not in page.replace("http://www.w3.org/2000/svg", "")
    other = DatasetReader(foreign)
    write_page(other, other.episodes[1], tmp_path / "other.html")
    assert "unit unknown" in (tmp_path / "other.html").read_text()
