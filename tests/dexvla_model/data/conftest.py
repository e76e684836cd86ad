"""Datasets: ours, by the writer, and one in LeRobot's layout that is put together by hand with pyarrow and
av."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, SubStepMark
from dexvla_model.robot import load_robot

FPS = 10
STRIPES = 8


def striped(number: int, width: int = 64, height: int = 64) -> np.ndarray:
    """An image that says its number in black and white stripes, which no codec can blur."""
    bits = (number >> np.arange(STRIPES)) & 1 == 1
    row = np.repeat(np.where(bits, 220, 30), -(-width // STRIPES))[:width]
    return np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2).astype(np.uint8)


def number_in(image: np.ndarray) -> int:
    """The number that a striped image says."""
    width = image.shape[1]
    centres = (np.arange(STRIPES) + 0.5) * -(-width // STRIPES)
    bright = image[:, centres.astype(int).clip(max=width - 1)].mean(axis=(0, 2)) > 125
    return int((bright * 2 ** np.arange(STRIPES)).sum())


@pytest.fixture(scope="session")
def stripes():
    """Functions from a number to an image and back."""
    return striped, number_in


@pytest.fixture(scope="session")
def ur5e():
    return load_robot("ur5e")


@pytest.fixture(scope="session")
def fill_episode():
    """Function that writes an episode whose images say their numbers, from `first` on."""

    def fill(
        writer: DatasetWriter, frames: int, instruction="pick", source="", first=0, success=True, **end
    ) -> None:
        rng = np.random.default_rng([frames, first])
        shapes = {
            key: f["shape"]
            for key, f in writer.specification.features.items()
            if f["dtype"] in ("video", "image")
        }
        with writer.begin_episode(instruction, source) as episode:
            for number in range(frames):
                images = {
                    key.rpartition(".")[2]: striped(first + number, shape[1], shape[0])
                    for key, shape in shapes.items()
                }
                stamp_ns = 5_000_000_000 + number * round(1e9 / writer.specification.fps)
                episode.add_frame(stamp_ns, rng.normal(size=7), np.full(7, number + first / 1000), images)
            end.setdefault("sub_steps", [SubStepMark(0.0, "reach"), SubStepMark(frames / 2 / FPS, "grasp")])
            episode.end(success=success, outcome="success" if success else "failure", **end)

    return fill


@pytest.fixture(scope="session")
def specification(ur5e):
    return DatasetSpecification.of_robot(ur5e, FPS)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory, specification, fill_episode) -> Path:
    """A dataset of ours with episodes of 12, 9 and 7 frames, the second a failure."""
    folder = tmp_path_factory.mktemp("recorded") / "dataset"
    writer = DatasetWriter.open(folder, specification)
    fill_episode(writer, 12, "pick the cube", "bag_a", first=0, metadata={"operator": "ann"})
    fill_episode(writer, 9, "drop the cube", "bag_b", first=50, success=False)
    fill_episode(writer, 7, "pick the cube", "bag_c", first=100, sub_steps=())
    writer.finish()
    return folder


JOINTS = [f"m{index}" for index in range(3)]


def build_foreign(
    folder: Path, lengths=(11, 8), keyframe_interval=12, b_frames="2", fps=FPS, version="v3.0"
) -> Path:
    """A dataset as LeRobot 0.4 leaves it: no robot file, no language, names in a table, B-frames, one PNG
    camera."""
    total = sum(lengths)
    rng = np.random.default_rng(3)
    state, action = rng.normal(size=(2, total, 3)).astype(np.float32)
    frame_index = np.concatenate([np.arange(length) for length in lengths])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    vector = {"dtype": "float32", "shape": [3], "names": {"motors": JOINTS}}
    scalar = {"shape": [1], "names": None}
    camera = {"shape": [64, 64, 3], "names": ["height", "width", "channel"]}
    info = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": total,
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.state": vector,
            "action": vector,
            "observation.images.top": camera | {"dtype": "video"},
            "observation.images.still": camera | {"dtype": "image"},
            "timestamp": scalar | {"dtype": "float32"},
            **{
                name: scalar | {"dtype": "int64"}
                for name in ("frame_index", "episode_index", "index", "task_index")
            },
        },
    }
    tasks = ["pour", "stir"]
    columns = {
        "observation.state": pa.array(list(state), type=pa.list_(pa.float32(), 3)),
        "action": pa.array(list(action), type=pa.list_(pa.float32(), 3)),
        "observation.images.still": pa.array(
            [{"bytes": _png(striped(n)), "path": f"{n}.png"} for n in range(total)]
        ),
        "timestamp": pa.array((frame_index / fps).astype(np.float32)),
        "frame_index": pa.array(frame_index),
        "episode_index": pa.array(np.repeat(np.arange(len(lengths)), lengths)),
        "index": pa.array(np.arange(total)),
        "task_index": pa.array(np.repeat(np.arange(len(lengths)) % 2, lengths)),
    }
    (folder / "meta").mkdir(parents=True)
    if version == "v3.0":
        _write(folder / "data/chunk-000/file-000.parquet", pa.table(columns))
        _write(folder / "meta/tasks.parquet", pa.table({"task_index": [0, 1], "__index_level_0__": tasks}))
        episodes = [
            {
                "episode_index": n,
                "tasks": [tasks[n % 2]],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": 0,
                "dataset_from_index": int(starts[n]),
                "dataset_to_index": int(ends[n]),
                "videos/observation.images.top/chunk_index": 0,
                "videos/observation.images.top/file_index": 0,
                "videos/observation.images.top/from_timestamp": starts[n] / fps,
                "videos/observation.images.top/to_timestamp": ends[n] / fps,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            for n, length in enumerate(lengths)
        ]
        _write(folder / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(episodes))
        video = folder / "videos/observation.images.top/chunk-000/file-000.mp4"
        _encode(video, range(total), keyframe_interval, b_frames, fps, restart_at=set(starts.tolist()))
    else:
        info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        table = pa.table(columns)
        for n, (start, length) in enumerate(zip(starts, lengths)):
            _write(folder / f"data/chunk-000/episode_{n:06d}.parquet", table.slice(start, length))
            video = folder / f"videos/chunk-000/observation.images.top/episode_{n:06d}.mp4"
            _encode(video, range(start, start + length), keyframe_interval, b_frames, fps)
        lines = [json.dumps({"task_index": n, "task": task}) for n, task in enumerate(tasks)]
        (folder / "meta/tasks.jsonl").write_text("\n".join(lines) + "\n")
        rows = [
            {"episode_index": n, "tasks": [tasks[n % 2]], "length": length}
            for n, length in enumerate(lengths)
        ]
        (folder / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="session")
def foreign_builder():
    return build_foreign


@pytest.fixture(scope="session")
def foreign(tmp_path_factory) -> Path:
    return build_foreign(tmp_path_factory.mktemp("foreign") / "dataset")


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


def _png(image: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _encode(
    path: Path, numbers, keyframe_interval: int, b_frames: str, fps: int, restart_at=frozenset()
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"g": str(keyframe_interval), "bf": b_frames, "crf": "20", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for position, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(striped(number % 256), format="rgb24").reformat(
                format="yuv420p"
            )
            frame.pts = position
            if position in restart_at:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
