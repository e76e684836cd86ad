"""Writing LeRobot datasets: what comes back, what an interruption leaves, what is refused."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dexvla_model.data.lerobot import (
    DatasetSpecification,
    DatasetWriter,
    FileLimits,
    InvalidFrame,
    SubStepMark,
    VideoSettings,
)
from dexvla_model.data.lerobot import packing
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.validation import find_problems
from dexvla_model.errors import UserError
from dexvla_model.robot import parse_robot


def test_an_episode_comes_back_as_it_was_written(recorded, stripes):
    _, number_in = stripes
    reader = DatasetReader(recorded)
    assert [episode.length for episode in reader.episodes] == [12, 9, 7]
    assert [episode.tasks for episode in reader.episodes] == [
        ("pick the cube",),
        ("drop the cube",),
        ("pick the cube",),
    ]
    assert [episode.success for episode in reader.episodes] == [True, False, True]
    assert json.loads(reader.episodes[0].metadata) == {"operator": "ann"}
    columns = reader.columns(["observation.state", "action", "stamp_ns", "timestamp"])
    expected = np.random.default_rng([12, 0]).normal(size=(12, 7)).astype(np.float32)
    np.testing.assert_array_equal(columns["observation.state"][:12], expected)
    np.testing.assert_array_equal(columns["stamp_ns"][:3], [5_000_000_000, 5_100_000_000, 5_200_000_000])
    np.testing.assert_array_equal(columns["timestamp"][12:15], np.array([0.0, 0.1, 0.2], np.float32))
    images = Pictures(reader).get("observation.images.scene", range(28))
    assert [number_in(image) for image in images] == [*range(12), *range(50, 59), *range(100, 107)]
    assert reader.sub_steps()[0] == [SubStepMark(0.0, "reach"), SubStepMark(pytest.approx(0.6), "grasp")]
    assert reader.robot.name == "ur5e"


def test_what_was_written_is_sound(recorded):
    assert find_problems(recorded, every_frame=True) == []


def test_statistics_are_those_of_the_frames(recorded):
    reader = DatasetReader(recorded)
    statistics, action = reader.statistics(), reader.columns(["action"])["action"].astype(np.float64)
    np.testing.assert_allclose(statistics["action"]["mean"], action.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics["action"]["std"], action.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics["action"]["max"], action.max(axis=0))
    assert statistics["action"]["count"].tolist() == [28]
    assert set(statistics["action"]) == {
        "min",
        "max",
        "mean",
        "std",
        "count",
        "q01",
        "q10",
        "q50",
        "q90",
        "q99",
    }
    assert statistics["observation.images.scene"]["mean"].shape == (3, 1, 1)
    assert 0.0 <= statistics["observation.images.scene"]["min"].min() < 0.2


def test_columns_are_of_the_types_that_lerobot_casts_to(recorded):
    schema = parquet.read_schema(recorded / "data/chunk-000/file-000.parquet")
    assert schema.field("action").type == pa.list_(pa.float32(), 7)
    row = schema.field("language_persistent").type.value_type
    assert [row.field(index).name for index in range(row.num_fields)] == [
        "role",
        "content",
        "style",
        "timestamp",
        "camera",
        "tool_calls",
    ]
    assert str(row.field("timestamp").type) == "float"
    metadata = json.loads(parquet.read_schema(recorded / "meta/tasks.parquet").metadata[b"pandas"])
    assert metadata["index_columns"] == ["task"]
    groups = parquet.ParquetFile(recorded / "data/chunk-000/file-000.parquet").num_row_groups
    assert groups == 1, "short episodes share a row group"


def test_long_episodes_have_row_groups_of_their_own(tmp_path, specification, fill_episode):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    for frames in (4, 97, 3, 100):
        fill_episode(writer, frames)
    writer.finish()
    with parquet.ParquetFile(tmp_path / "new/data/chunk-000/file-000.parquet") as file:
        groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert groups == [101, 103]
    assert DatasetReader(tmp_path / "new").episode_table(DatasetReader(tmp_path / "new").episodes[2]).num_rows == 3


def test_tables_of_numbers_come_back_and_have_no_statistics(tmp_path, ur5e):
    shape = {"dtype": "float32", "shape": [2, 3], "names": {"joints": ["a", "b", "c"]}}
    cells = {"dtype": "uint8", "shape": [1, 4], "names": {"objects": ["cube"]}}
    specification = DatasetSpecification.of_robot(ur5e, 10, as_video=False, extra={"plan": shape, "seen": cells})
    writer = DatasetWriter.open(tmp_path / "new", specification)
    plans = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    with writer.begin_episode("pick") as episode:
        for number, plan in enumerate(plans):
            extra = {"plan": plan, "seen": np.full((1, 4), number, np.uint8)}
            episode.add_frame(number * 100_000_000, np.zeros(7), np.zeros(7), frame()["images"], extra)
        with pytest.raises(InvalidFrame, match="plan of entry 4 is not finite"):
            bad = extra | {"plan": np.where(plans[0] == 4, np.nan, plans[0])}
            episode.add_frame(400_000_000, np.zeros(7), np.zeros(7), frame()["images"], bad)
        episode.end()
    writer.finish()
    reader = DatasetReader(tmp_path / "new")
    columns = reader.columns(["plan", "seen"])
    np.testing.assert_array_equal(columns["plan"], plans)
    assert columns["seen"].shape == (4, 1, 4) and columns["seen"].dtype == np.uint8
    assert reader.info.features["seen"]["names"] == {"objects": ["cube"]}
    # As LeRobot stores what `datasets` calls Array2D.
    schema = parquet.read_schema(tmp_path / "new/data/chunk-000/file-000.parquet")
    assert schema.field("plan").type == pa.list_(pa.list_(pa.float32()))
    assert {"plan", "seen"}.isdisjoint(reader.statistics())
    assert find_problems(tmp_path / "new") == []


def test_until_it_is_finished_nobody_takes_it_for_a_dataset(tmp_path, specification, fill_episode):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    fill_episode(writer, 4, source="bag_a")
    with pytest.raises(UserError, match="unfinished"):
        DatasetReader(tmp_path / "new")
    writer.close()
    again = DatasetWriter.open(tmp_path / "new", specification)
    assert again.sources() == {"bag_a"}
    fill_episode(again, 5, source="bag_b")
    assert again.finish().total_frames == 9
    assert not (tmp_path / "new" / ".unfinished").exists()


def test_episodes_are_appended(tmp_path, specification, fill_episode):
    for number in range(3):
        writer = DatasetWriter.open(tmp_path / "grown", specification)
        fill_episode(writer, 4 + number, f"task {number % 2}", f"bag_{number}", first=10 * number)
        assert len(writer.sources()) == number + 1
        writer.finish()
    reader = DatasetReader(tmp_path / "grown")
    assert [episode.length for episode in reader.episodes] == [4, 5, 6]
    assert reader.tasks == {0: "task 0", 1: "task 1"}
    assert reader.statistics()["action"]["count"].tolist() == [15]
    assert find_problems(tmp_path / "grown") == []


def test_an_aborted_episode_leaves_nothing(tmp_path, specification, fill_episode, ur5e):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    with pytest.raises(RuntimeError, match="cable"):
        with writer.begin_episode("pick") as episode:
            images = {c.role: np.zeros((c.model_height, c.model_width, 3), np.uint8) for c in ur5e.cameras}
            episode.add_frame(0, np.zeros(7), np.zeros(7), images)
            raise RuntimeError("cable pulled")
    fill_episode(writer, 4)
    assert writer.finish().total_episodes == 1


def test_files_grow_to_their_limit_only(tmp_path, ur5e, fill_episode):
    specification = DatasetSpecification.of_robot(
        ur5e, 10, limits=FileLimits(data_mb=0, video_mb=0, chunk_files=2)
    )
    writer = DatasetWriter.open(tmp_path / "new", specification)
    for number in range(3):
        fill_episode(writer, 4, source=str(number), first=number * 10)
    writer.finish()
    files = sorted(
        str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new/data").rglob("*.parquet")
    )
    assert files == [
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        "data/chunk-001/file-000.parquet",
    ]
    assert len(list((tmp_path / "new/videos").rglob("*.mp4"))) == 6
    assert find_problems(tmp_path / "new", every_frame=True) == []


@pytest.mark.parametrize("moment", (1, 5, 9))
def test_an_interrupted_finish_is_taken_up_again(tmp_path, specification, fill_episode, monkeypatch, moment):
    folder = tmp_path / "new"
    writer = DatasetWriter.open(folder, specification)
    fill_episode(writer, 4, source="old")
    writer.finish()
    writer = DatasetWriter.open(folder, specification)
    fill_episode(writer, 5, source="new", first=20)
    calls = []

    def replace(source, target):
        calls.append(target)
        if len(calls) > moment:
            raise KeyboardInterrupt
        os.rename(source, target)

    monkeypatch.setattr(packing.os, "replace", replace)
    try:
        writer.finish()
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    writer.close()
    try:
        assert [episode.length for episode in DatasetReader(folder).episodes] in ([4], [4, 5])
    except UserError as error:
        assert "unfinished" in str(error)
    again = DatasetWriter.open(folder, specification)
    assert again.sources() == {"old", "new"}
    again.finish()
    assert [episode.length for episode in DatasetReader(folder).episodes] == [4, 5]
    assert find_problems(folder, every_frame=True) == []


def in_a_process(code: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )


_PRELUDE = """
    import os, resource, signal, sys
    from pathlib import Path
    import numpy as np
    from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter
    from dexvla_model.errors import UserError
    from dexvla_model.robot import load_robot
    robot = load_robot("ur5e")
    writer = DatasetWriter.open(Path(sys.argv[1]), DatasetSpecification.of_robot(robot, 10))
    rng = np.random.default_rng(0)

    def fill(frames, source):
        with writer.begin_episode("pick", source) as episode:
            for number in range(frames):
                images = {c.role: rng.integers(0, 255, (c.model_height, c.model_width, 3), dtype=np.uint8)
                          for c in robot.cameras}
                episode.add_frame(number * 100_000_000, np.zeros(7), np.zeros(7), images)
            episode.end()
"""


def test_a_killed_writer_keeps_the_episodes_that_were_ended(tmp_path, specification, fill_episode):
    result = in_a_process(
        _PRELUDE + """
    fill(4, "whole")
    episode = writer.begin_episode("pick", "killed")
    os.kill(os.getpid(), signal.SIGKILL)
    """,
        tmp_path / "new",
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    writer = DatasetWriter.open(tmp_path / "new", specification)
    assert writer.sources() == {"whole"}
    assert writer.finish().total_frames == 4


def test_a_disk_that_takes_no_more_is_said_so_and_spares_the_dataset(tmp_path, specification, fill_episode):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    fill_episode(writer, 4, source="old")
    writer.finish()
    # A limit of the file size stands for the full disk: the system refuses to write either way.
    result = in_a_process(
        _PRELUDE + """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    try:
        fill(200, "new")
        writer.finish()
    except UserError as error:
        print(error)
    """,
        tmp_path / "new",
    )
    assert "nothing more can be written there" in result.stdout, result.stderr
    assert [episode.source for episode in DatasetReader(tmp_path / "new").episodes] == ["old"]
    again = DatasetWriter.open(tmp_path / "new", specification)
    fill_episode(again, 5, source="new")
    assert again.finish().total_episodes == 2


def test_only_one_writer_at_a_time(tmp_path, specification):
    with_lock = DatasetWriter.open(tmp_path / "new", specification)
    with pytest.raises(UserError, match="another process is writing"):
        DatasetWriter.open(tmp_path / "new", specification)
    with_lock.close()


def test_further_processes_write_episodes_at_their_places(tmp_path, specification, fill_episode):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    joined = DatasetWriter.join(tmp_path / "new")
    for place in (1, 0):
        with joined.begin_episode("pick", f"bag_{place}", index=place, threads=False) as episode:
            for number in range(3):
                images = {role: np.zeros((size[1], size[0], 3), np.uint8) for role, size in SIZES.items()}
                episode.add_frame(number * 100_000_000, np.zeros(7), np.full(7, place), images)
            episode.end()
    writer.finish()
    reader = DatasetReader(tmp_path / "new")
    assert [episode.source for episode in reader.episodes] == ["bag_0", "bag_1"]
    assert reader.columns(["action"])["action"][:, 0].tolist() == [0, 0, 0, 1, 1, 1]


SIZES = {"scene": (140, 112), "wrist": (84, 84)}


def test_another_robot_or_rate_is_not_appended(recorded, tmp_path, ur5e, specification):
    with pytest.raises(UserError, match="10 Hz.*20 Hz"):
        DatasetWriter.open(recorded, DatasetSpecification.of_robot(ur5e, 20))
    other = parse_robot(ur5e.text.replace("role: wrist", "role: hand"), ur5e.path)
    with pytest.raises(UserError, match="features"):
        DatasetWriter.open(recorded, DatasetSpecification.of_robot(other, 10))
    (tmp_path / "photo.jpg").write_text("x")
    with pytest.raises(UserError, match="is no LeRobot dataset"):
        DatasetWriter.open(tmp_path, specification)
    assert find_problems(recorded)[0].where == ".unfinished" or find_problems(recorded) == []


def frame(**changes):
    images = {role: np.zeros((height, width, 3), np.uint8) for role, (width, height) in SIZES.items()}
    good = {"stamp_ns": 100_000_000, "state": np.zeros(7), "action": np.zeros(7), "images": images}
    return good | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": np.array([0, 0, np.nan, 0, 0, 0, 0])}, "observation.state of elbow_joint is not finite"),
        ({"action": np.zeros(6)}, r"action has the shape \(6,\)"),
        ({"stamp_ns": -1}, "not after the one before"),
        ({"stamp_ns": 900_000_000}, "off the dataset's rate"),
        ({"images": {"scene": np.zeros((112, 140, 3), np.uint8)}}, "no image of the camera wrist"),
        ({"images": {"scene": np.zeros((120, 160, 3), np.uint8)}}, "camera scene has the shape"),
        ({"extra": {"force": 1.0}}, "no feature force"),
    ],
)
def test_a_wrong_frame_is_refused_and_the_episode_goes_on(tmp_path, specification, changes, expected):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    with writer.begin_episode("pick") as episode:
        episode.add_frame(**frame(stamp_ns=0))
        with pytest.raises(InvalidFrame, match=expected):
            episode.add_frame(**frame(**changes))
        episode.add_frame(**frame())
        assert episode.end().frames == 2
    writer.close()


def test_an_episode_without_a_frame_or_instruction_is_refused(tmp_path, specification):
    writer = DatasetWriter.open(tmp_path / "new", specification)
    with pytest.raises(InvalidFrame, match="no frame"):
        writer.begin_episode("pick").end()
    with pytest.raises(InvalidFrame, match="no instruction"):
        writer.begin_episode(" ")
    writer.discard()
    assert not (tmp_path / "new/.unfinished").exists()


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_pictures_survive_the_encoding(tmp_path, ur5e, codec):
    specification = DatasetSpecification.of_robot(
        ur5e, 10, sizes={"wrist": (85, 63) if codec == "h264" else (84, 62)}, video=VideoSettings(codec)
    )
    wrist = specification.features["observation.images.wrist"]["shape"]
    rows, columns = np.mgrid[0:112, 0:140]
    scene = np.stack([rows * 2, columns, 255 - rows - columns], axis=2).clip(0, 255).astype(np.uint8)
    writer = DatasetWriter.open(tmp_path / "new", specification)
    with writer.begin_episode("pick") as episode:
        for number in range(5):
            shown = {"scene": scene // (number + 1), "wrist": scene[: wrist[0], : wrist[1]]}
            episode.add_frame(number * 100_000_000, np.zeros(7), np.zeros(7), shown)
        episode.end()
    writer.finish()
    reader = DatasetReader(tmp_path / "new")
    assert reader.info.features["observation.images.scene"]["info"]["video.codec"] == codec
    for number, image in enumerate(Pictures(reader).get("observation.images.scene", range(5))):
        error = np.mean((image.astype(float) - scene // (number + 1)) ** 2)
        assert 10 * np.log10(255**2 / error) > {"h264": 36, "av1": 32}[codec]
    assert Pictures(reader).get("observation.images.wrist", [2])[0].shape == tuple(wrist)


def test_images_instead_of_videos_come_back_bit_for_bit(tmp_path, ur5e):
    writer = DatasetWriter.open(tmp_path / "new", DatasetSpecification.of_robot(ur5e, 10, as_video=False))
    rng = np.random.default_rng(0)
    images = [
        {role: rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for role, (w, h) in SIZES.items()}
        for _ in range(4)
    ]
    with writer.begin_episode("pick") as episode:
        for number, shown in enumerate(images):
            episode.add_frame(number * 100_000_000, np.zeros(7), np.zeros(7), shown)
        episode.end()
    writer.finish()
    reader = DatasetReader(tmp_path / "new")
    assert reader.info.video_path is None
    for found, shown in zip(Pictures(reader).get("observation.images.wrist", range(4)), images):
        np.testing.assert_array_equal(found, shown["wrist"])
    assert find_problems(tmp_path / "new", every_frame=True) == []
