"""metadata.yaml of a rosbag2 directory, version 9 (Jazzy). No ROS.

Layout: rosbag2_storage's BagMetadata and its YAML conversion.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dexvla_ros.recording.episode_metadata import BAG_METADATA

VERSION = 9
STORAGE = "mcap"
ROS_DISTRO = "jazzy"
# What rosbag2 writes for the duration of an empty bag's start.
_NO_START_NS = 2**63 - 1


@dataclass(frozen=True)
class BagTopic:
    """A topic as a bag describes it.

    Attributes:
        type_name: such as `sensor_msgs/msg/Image`; type_hash: REP-2016's, such as `RIHS01_…`, or empty.
        qos: the profiles that its publishers offered, as rosbag2 writes them.
    """

    name: str
    type_name: str
    type_hash: str = ""
    qos: tuple[Mapping[str, object], ...] = ()

    def qos_yaml(self) -> str:
        """`qos` as the text that goes into an MCAP channel's metadata."""
        return yaml.safe_dump([dict(profile) for profile in self.qos], sort_keys=False).strip()


@dataclass(frozen=True)
class BagFile:
    """One file of a bag: its name, its time span (log times), and messages per topic."""

    name: str
    start_ns: int
    end_ns: int
    counts: Mapping[str, int]

    @property
    def message_count(self) -> int:
        return sum(self.counts.values())


def write_bag_metadata(
    bag: Path, files: Sequence[BagFile], topics: Sequence[BagTopic], custom_data: Mapping[str, str]
) -> None:
    """Write metadata.yaml: whole or not at all, and on the disk when this returns.

    Raises:
        OSError: the disk does not take it.
    """
    filled = [file for file in files if file.message_count]
    start_ns = min((file.start_ns for file in filled), default=_NO_START_NS)
    end_ns = max((file.end_ns for file in filled), default=start_ns)
    information = {
        "version": VERSION,
        "storage_identifier": STORAGE,
        "duration": {"nanoseconds": end_ns - start_ns},
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "message_count": sum(file.message_count for file in files),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type_name,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [dict(profile) for profile in topic.qos],
                    "type_description_hash": topic.type_hash,
                },
                "message_count": sum(file.counts.get(topic.name, 0) for file in files),
            }
            for topic in topics
        ],
        # Chunks are compressed inside the storage, which is not what these two are about.
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name for file in files],
        "files": [
            {
                "path": file.name,
                "starting_time": {"nanoseconds_since_epoch": file.start_ns},
                "duration": {"nanoseconds": file.end_ns - file.start_ns},
                "message_count": file.message_count,
            }
            for file in files
        ],
        "custom_data": dict(custom_data) or None,
        "ros_distro": ROS_DISTRO,
    }
    text = yaml.dump(
        {"rosbag2_bagfile_information": information}, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True
    )
    replace_file(bag / BAG_METADATA, text)


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; it is on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _PlainDumper(yaml.SafeDumper):
    """Without anchors, which rosbag2's reader need not know; texts with several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text and not any(line.endswith((" ", "\t")) for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_PlainDumper.add_representer(str, _represent_text)
