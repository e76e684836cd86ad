"""Reading LeRobot datasets that others wrote, and reaching any frame of a long video at the same cost."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.data.lerobot.decoding import DecoderCache, VideoDecoder
from dexvla_model.data.lerobot.legacy import open_any_version
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.errors import UserError


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_dataset_of_others_opens(tmp_path, foreign_builder, stripes, version):
    _, number_in = stripes
    reader = open_any_version(foreign_builder(tmp_path / "data", version=version))
    assert reader.robot is None
    assert [(episode.length, episode.tasks) for episode in reader.episodes] == [
        (11, ("pour",)),
        (8, ("stir",)),
    ]
    columns = reader.columns(["observation.state", "index"])
    assert columns["observation.state"].shape == (19, 3)
    np.testing.assert_array_equal(columns["index"], np.arange(19))
    assert reader.sub_steps() == {0: [], 1: []}
    for key in ("observation.images.top", "observation.images.still"):
        order = np.random.default_rng(0).permutation(19)
        assert [number_in(image) for image in Pictures(reader).get(key, order)] == order.tolist()


@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_every_frame_of_a_video_is_reached_in_any_order(tmp_path, foreign_builder, stripes, b_frames):
    _, number_in = stripes
    reader = DatasetReader(
        foreign_builder(tmp_path / "data", lengths=(25, 15), keyframe_interval=10, b_frames=b_frames)
    )
    pictures = Pictures(reader)
    for order in (np.random.default_rng(1).permutation(40), np.arange(40), np.arange(40)[::-1]):
        assert [number_in(pictures.get("observation.images.top", [n])[0]) for n in order] == order.tolist()


def test_random_access_decodes_as_few_frames_in_a_long_file_as_in_a_short_one(
    tmp_path, foreign_builder, stripes
):
    _, number_in = stripes
    per_frame = {}
    for frames in (60, 960):
        interval = 6
        reader = DatasetReader(
            foreign_builder(
                tmp_path / str(frames), lengths=(frames,), keyframe_interval=interval, b_frames="0"
            )
        )
        decoder = VideoDecoder(reader.episodes[0].videos["observation.images.top"].path)
        wanted = np.random.default_rng(0).choice(np.arange(frames // 2, frames), 30, replace=False)
        worst = 0
        for frame in wanted:
            before = decoder.decoded
            assert number_in(decoder.frames_at([frame / 10])[0]) == frame % 256
            worst = max(worst, decoder.decoded - before)
        assert worst <= interval
        per_frame[frames] = decoder.decoded / 30
    assert per_frame[960] <= per_frame[60] + 1.0


def test_ours_needs_two_frames_at_most(recorded):
    reader = DatasetReader(recorded)
    decoder = VideoDecoder(reader.episodes[0].videos["observation.images.scene"].path)
    for frame in (27, 4, 13, 8, 21):
        before = decoder.decoded
        decoder.frames_at([frame / 10])
        assert decoder.decoded - before <= 2


def test_the_cache_keeps_the_videos_open_that_were_used_last(recorded):
    reader = DatasetReader(recorded)
    paths = [place.path for place in reader.episodes[0].videos.values()]
    cache = DecoderCache(capacity=1)
    first = cache.decoder(paths[0])
    assert cache.decoder(paths[0]) is first
    cache.decoder(paths[1])
    assert cache.decoder(paths[0]) is not first


def test_a_time_behind_the_end_is_named(recorded):
    reader = DatasetReader(recorded)
    path = reader.episodes[0].videos["observation.images.scene"].path
    with pytest.raises(UserError, match=r"file-000.mp4: there is no frame at 9.000 s"):
        VideoDecoder(path).frames_at([9.0])


def test_other_styles_are_no_sub_steps(tmp_path, recorded):
    import shutil

    import pyarrow as pa

    from dexvla_model.data.lerobot.language import PERSISTENT_TYPE

    shutil.copytree(recorded, tmp_path / "data")
    path = tmp_path / "data/data/chunk-000/file-000.parquet"
    table = parquet.read_table(path)
    row = {"role": "user", "content": "a", "camera": None, "tool_calls": None}
    cell = [
        row | {"style": "plan", "timestamp": 0.0},
        row | {"style": "subtask", "timestamp": 0.5, "content": "b"},
    ]
    column = pa.array([cell] * table.num_rows, type=PERSISTENT_TYPE)
    table = table.set_column(table.column_names.index("language_persistent"), "language_persistent", column)
    parquet.write_table(table, path)
    assert DatasetReader(tmp_path / "data").sub_steps()[2] == [SubStepMark(0.5, "b")]


def change_info(folder, **changes) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"codebase_version": "v2.1"}, "codebase_version is v2.1.*from-lerobot"),
        ({"fps": 0}, "fps is 0"),
        ({"features": 3}, "no LeRobot info"),
        ({"total_episodes": 5}, "says 5 episodes, but meta/episodes holds 2"),
    ],
)
def test_a_wrong_info_is_named(tmp_path, foreign_builder, changes, expected):
    folder = foreign_builder(tmp_path / "data")
    change_info(folder, **changes)
    with pytest.raises(UserError, match=expected):
        DatasetReader(folder)


def test_a_folder_without_a_dataset_is_named(tmp_path):
    with pytest.raises(UserError, match="is no LeRobot dataset"):
        DatasetReader(tmp_path)


def test_many_small_files_are_one_dataset(tmp_path, ur5e, fill_episode, stripes):
    from dexvla_model.data.lerobot import FileLimits

    _, number_in = stripes
    specification = DatasetSpecification.of_robot(ur5e, 10, limits=FileLimits(data_mb=0, video_mb=0))
    writer = DatasetWriter.open(tmp_path / "data", specification)
    for number in range(3):
        fill_episode(writer, 4, source=str(number), first=20 * number)
    writer.finish()
    images = Pictures(DatasetReader(tmp_path / "data")).get("observation.images.wrist", [11, 0, 6])
    assert [number_in(image) for image in images] == [43, 0, 22]
