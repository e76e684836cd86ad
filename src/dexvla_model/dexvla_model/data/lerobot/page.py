"""One episode as an HTML page that needs nothing else: pictures, curves, sub-steps, and a slider over all of
them."""

import base64
import html
import json
import tempfile
from pathlib import Path
from string import Template

from dexvla_model.data.lerobot.copying import cut_video
from dexvla_model.data.lerobot.layout import ACTION, IMAGE_PREFIX, STATE
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry, as_array
from dexvla_model.data.lerobot.storage import writing_to
from dexvla_model.data.lerobot.video import VideoSettings, VideoWriter
from dexvla_model.data.recorded_frames import feature_names

_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(reader: DatasetReader, episode: EpisodeEntry, out: Path) -> None:
    """Write the page of an episode. Videos stand in it as they are in the dataset; browsers play H.264 and
    AV1.

    Raises:
        UserError: the episode's files are damaged, or the page cannot be written.
    """
    marks = reader.sub_steps()[episode.index]
    length_s = episode.length / reader.fps
    ends = [mark.start_s for mark in marks[1:]] + [length_s]
    outcome = (
        episode.outcome or {True: "success", False: "failure", None: "outcome not recorded"}[episode.success]
    )
    content = {
        "fps": reader.fps,
        "frames": episode.length,
        "bands": [{"start": m.start_s, "end": end, "text": m.text} for m, end in zip(marks, ends) if m.text],
        "plots": [plot for key in (STATE, ACTION) if (plot := _plot(reader, episode, key))],
        "videos": _videos(reader, episode),
    }
    facts = [
        f"{episode.length} frames at {reader.fps:g} Hz, {length_s:.2f} s",
        outcome,
        reader.info.robot_type or "",
    ]
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{reader.folder.name}, episode {episode.index}"),
        instruction=html.escape("; ".join(episode.tasks)),
        facts=html.escape(" · ".join(fact for fact in facts if fact)),
        # A text that held "</script>" would end the script otherwise.
        content=json.dumps(content).replace("</", "<\\/"),
    )
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")


def _plot(reader: DatasetReader, episode: EpisodeEntry, key: str) -> dict | None:
    if key not in reader.info.features:
        return None
    feature = reader.info.features[key]
    values = as_array(reader.episode_table(episode, [key])[key], feature).reshape(episode.length, -1)
    names = feature_names(feature) or [str(index) for index in range(values.shape[1])]
    units = {}
    if reader.robot is not None:
        layout = reader.robot.state if key == STATE else reader.robot.action
        units = {entry.joint: entry.unit for entry in layout}
    curves = [
        {
            "name": name,
            "unit": units.get(name, "unit unknown"),
            "values": [round(float(v), 5) for v in values[:, column]],
        }
        for column, name in enumerate(names)
    ]
    return {"title": "state" if key == STATE else "action", "curves": curves}


def _videos(reader: DatasetReader, episode: EpisodeEntry) -> list[dict]:
    videos = []
    with tempfile.TemporaryDirectory() as folder:
        for key in reader.info.camera_keys:
            path = Path(folder) / f"{key}.mp4"
            if key in episode.videos:
                cut_video(episode.videos[key], episode.length, reader.fps, path)
            else:
                _encode(reader, episode, key, path)
            encoded = base64.b64encode(path.read_bytes()).decode()
            videos.append(
                {"name": key.removeprefix(IMAGE_PREFIX), "source": f"data:video/mp4;base64,{encoded}"}
            )
    return videos


def _encode(reader: DatasetReader, episode: EpisodeEntry, key: str, path: Path) -> None:
    height, width, _ = reader.info.features[key]["shape"]
    writer = VideoWriter(path, width, height, reader.fps, VideoSettings())
    pictures = Pictures(reader)
    for frame in range(episode.first, episode.first + episode.length):
        writer.add(pictures.get(key, [frame])[0])
    writer.close()
