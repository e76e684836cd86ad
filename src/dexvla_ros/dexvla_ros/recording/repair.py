"""Makes a bag whole again that was cut off: by a killed recorder, a full disk, a power failure. No ROS."""

import fcntl
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from mcap.reader import make_reader

from dexvla_model.errors import UserError
from dexvla_ros.recording.bag_metadata import BagFile, BagTopic, write_bag_metadata
from dexvla_ros.recording.bag_writer import RESERVE_FILE
from dexvla_ros.recording.episode_metadata import BAG_METADATA, RECORD_NAME, EpisodeMetadata
from dexvla_ros.recording.mcap_repair import is_whole, rewrite


@dataclass(frozen=True)
class RepairReport:
    """What a repair found.

    Attributes:
        messages: in the repaired bag; duration_s: from its first to its last message.
        lost_bytes: at the end of the files, in records that were not whole.
        rewritten: whether a file had to be rewritten; else only metadata.yaml was missing.
    """

    bag: Path
    messages: int
    duration_s: float
    lost_bytes: int
    rewritten: bool

    def sentence(self) -> str:
        """For the operator."""
        kept = f"{self.bag}: repaired; {self.messages} messages over {self.duration_s:.1f} s are kept"
        if self.lost_bytes:
            return f"{kept}, the last {self.lost_bytes} bytes were no whole records and are gone."
        return f"{kept}, nothing in the file was lost; what had not reached it is."


def find_bags(path: Path) -> list[Path]:
    """The bag at a path, or the bags in the folder there, whole or not.

    Raises:
        UserError: there is none.
    """
    if path.suffix == ".mcap" and path.is_file():
        return [path.parent]
    if path.is_dir():
        if _files(path):
            return [path]
        bags = sorted(folder for folder in path.iterdir() if folder.is_dir() and _files(folder))
        if bags:
            return bags
    raise UserError(
        f"{path}: there is no bag here (needed: a folder with .mcap files, or a folder of such folders)."
    )


def is_cut_off(bag: Path) -> bool:
    """Whether a bag is not whole; also true for one that is being recorded."""
    files = _files(bag)
    return bool(files) and (not (bag / BAG_METADATA).is_file() or not all(is_whole(file) for file in files))


def is_being_recorded(bag: Path) -> bool:
    """Whether a recorder has the bag open."""
    for file in _files(bag):
        with file.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def repair_bag(bag: Path) -> RepairReport:
    """Make a bag whole. A file is replaced only when the new one is complete and on the disk.

    Raises:
        UserError: it is being recorded, the disk has no room for the copy, or a file is no MCAP file.
    """
    if is_being_recorded(bag):
        raise UserError(f"{bag}: this bag is being recorded; wait for its end.")
    (bag / RESERVE_FILE).unlink(missing_ok=True)
    files = _files(bag)
    lost_bytes, rewritten = 0, False
    for file in files:
        if not is_whole(file):
            lost_bytes += rewrite(file)
            rewritten = True
    contents = [_describe(file) for file in files]
    topics = {topic.name: topic for _, found, _ in contents for topic in found}
    bag_files = [file for file, _, _ in contents]
    custom_data: dict[str, str] = {}
    for _, _, values in contents:
        custom_data |= values
    messages = sum(file.message_count for file in bag_files)
    filled = [file for file in bag_files if file.message_count]
    end_ns = max((file.end_ns for file in filled), default=0)
    start_ns = min((file.start_ns for file in filled), default=0)
    if "format_version" in custom_data:
        metadata = EpisodeMetadata.from_custom_data(custom_data, bag)
        if not metadata.ended_ns:
            ending = f"The recording was cut off and repaired; {lost_bytes} bytes at its end were lost."
            metadata = replace(metadata, ended_ns=end_ns, ending=ending)
        custom_data = metadata.to_custom_data()
    write_bag_metadata(bag, bag_files, list(topics.values()), custom_data)
    return RepairReport(bag, messages, (end_ns - start_ns) / 1e9, lost_bytes, rewritten)


def _files(bag: Path) -> list[Path]:
    return sorted(file for file in bag.glob("*.mcap") if file.is_file())


def _describe(file: Path) -> tuple[BagFile, list[BagTopic], dict[str, str]]:
    """Counts, topics and custom data of a whole file."""
    with file.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        custom_data: dict[str, str] = {}
        for metadata in reader.iter_metadata():
            if metadata.name == RECORD_NAME:
                custom_data = dict(metadata.metadata)
    if summary is None or summary.statistics is None:
        raise UserError(
            f"{file}: the file ends as a whole one does and has no summary; it cannot be described."
        )
    counts: Counter[str] = Counter()
    topics = {}
    for channel in summary.channels.values():
        schema = summary.schemas.get(channel.schema_id)
        counts[channel.topic] += summary.statistics.channel_message_counts.get(channel.id, 0)
        try:
            qos = yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or []
        except yaml.YAMLError:
            qos = []
        topics[channel.topic] = BagTopic(
            channel.topic,
            schema.name if schema else "",
            channel.metadata.get("topic_type_hash", ""),
            tuple(qos) if isinstance(qos, list) else (),
        )
    times = summary.statistics.message_start_time, summary.statistics.message_end_time
    return BagFile(file.name, *times, counts), list(topics.values()), custom_data
