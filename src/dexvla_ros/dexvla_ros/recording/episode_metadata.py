"""What an episode says of itself: the custom data of its bag. No ROS."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dexvla_model.errors import UserError

FORMAT_VERSION = 1
# Name of the metadata records inside the MCAP file.
RECORD_NAME = "dexvla_episode"
BAG_METADATA = "metadata.yaml"

SUCCESS = "success"
FAILURE = "failure"
UNJUDGED = "unjudged"
OUTCOMES = (SUCCESS, FAILURE, UNJUDGED)
# Only ever the outcome of a goal: a discarded episode is deleted.
DISCARDED = "discarded"


@dataclass(frozen=True)
class SubStepMark:
    """From `time_ns` (node clock) on the demonstrator is at the sub-step `text`."""

    time_ns: int
    text: str


@dataclass(frozen=True)
class EpisodeMetadata:
    """Everything about an episode that is no message.

    As custom data it is a mapping of texts with these keys, lists and mappings in JSON.

    Attributes:
        episode: name of the bag's folder.
        robot: name in the robot file; `robot_file` its text; `robot_file_sha256` the hash of that, in hex.
        version: of this software, from git where there is git; host: name of the machine that recorded.
        instruction, operator, tags: as the operator gave them.
        outcome: one of OUTCOMES; ending: how the episode ended, in one sentence, empty while it runs.
        sub_steps: marks in the order in which they were made.
        started_ns, ended_ns: in the node clock; ended_ns is 0 while it runs.
        sim_time: whether the node clock was that of a simulation.
        drops: by topic, the messages that are known to be missing; only topics that miss some.
        format_version: of this layout.
    """

    episode: str
    robot: str
    robot_file: str
    version: str
    host: str
    instruction: str
    operator: str = ""
    tags: tuple[str, ...] = ()
    outcome: str = UNJUDGED
    ending: str = ""
    sub_steps: tuple[SubStepMark, ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    sim_time: bool = False
    drops: Mapping[str, int] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def robot_file_sha256(self) -> str:
        return hashlib.sha256(self.robot_file.encode()).hexdigest()

    def to_custom_data(self) -> dict[str, str]:
        """The mapping that goes into metadata.yaml and into the MCAP file."""
        marks = [{"time_ns": mark.time_ns, "text": mark.text} for mark in self.sub_steps]
        return {
            "format_version": str(self.format_version),
            "episode": self.episode,
            "robot": self.robot,
            "robot_file": self.robot_file,
            "robot_file_sha256": self.robot_file_sha256,
            "version": self.version,
            "host": self.host,
            "instruction": self.instruction,
            "operator": self.operator,
            "tags": json.dumps(list(self.tags), ensure_ascii=False),
            "outcome": self.outcome,
            "ending": self.ending,
            "sub_steps": json.dumps(marks, ensure_ascii=False),
            "started_ns": str(self.started_ns),
            "ended_ns": str(self.ended_ns),
            "sim_time": json.dumps(self.sim_time),
            "drops": json.dumps(dict(self.drops), ensure_ascii=False),
        }

    @staticmethod
    def from_custom_data(values: Mapping[str, str], source: str | Path) -> "EpisodeMetadata":
        """The inverse of `to_custom_data`.

        Args:
            source: names the bag in messages.

        Raises:
            UserError: a key is missing or malformed, the format is of a newer version, or the robot file is
                not the one that the hash is of.
        """
        try:
            version = int(values["format_version"])
            if version > FORMAT_VERSION:
                raise UserError(
                    f"{source}: the episode has format_version {version} (readable: up to {FORMAT_VERSION}); "
                    "update this software."
                )
            metadata = EpisodeMetadata(
                episode=values["episode"],
                robot=values["robot"],
                robot_file=values["robot_file"],
                version=values["version"],
                host=values["host"],
                instruction=values["instruction"],
                operator=values["operator"],
                tags=tuple(str(tag) for tag in json.loads(values["tags"])),
                outcome=values["outcome"],
                ending=values["ending"],
                sub_steps=tuple(
                    SubStepMark(int(mark["time_ns"]), str(mark["text"]))
                    for mark in json.loads(values["sub_steps"])
                ),
                started_ns=int(values["started_ns"]),
                ended_ns=int(values["ended_ns"]),
                sim_time=values["sim_time"] == "true",
                drops={str(topic): int(count) for topic, count in json.loads(values["drops"]).items()},
                format_version=version,
            )
            sha256 = values["robot_file_sha256"]
        except KeyError as error:
            raise UserError(
                f"{source}: the key {error} is missing in the episode's custom data; "
                "record it with dexvla record."
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source}: the episode's custom data are damaged ({error}); repair the bag."
            ) from error
        if metadata.outcome not in OUTCOMES:
            raise UserError(
                f"{source}: outcome is {metadata.outcome!r} (allowed: {', '.join(OUTCOMES)}); "
                "correct metadata.yaml."
            )
        if metadata.robot_file_sha256 != sha256:
            raise UserError(
                f"{source}: robot_file does not match robot_file_sha256; somebody has edited metadata.yaml: "
                "restore it with dexvla record --repair after deleting it."
            )
        return metadata


def read_bag_information(bag: Path) -> dict[str, Any]:
    """What stands under `rosbag2_bagfile_information` in the metadata.yaml of a bag.

    Raises:
        UserError: the file is missing (the episode was cut off) or no rosbag2 metadata.
    """
    path = bag / BAG_METADATA
    if not path.is_file():
        raise UserError(
            f"{bag}: there is no {BAG_METADATA}, so this is no bag or one that was cut off; "
            f"run: dexvla record --repair {bag}"
        )
    try:
        information = yaml.safe_load(path.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = getattr(error, "problem", None) or error
        raise UserError(
            f"{path}: this is no metadata of a rosbag2 directory ({reason}); delete it and run: "
            f"dexvla record --repair {bag}"
        ) from error
    return information


def read_episode_metadata(bag: Path) -> EpisodeMetadata | None:
    """What the episode in a bag says of itself; None where another program has recorded it.

    Raises:
        UserError: the bag was cut off, or its custom data are damaged.
    """
    values = read_bag_information(bag).get("custom_data") or {}
    if "format_version" not in values:
        return None
    return EpisodeMetadata.from_custom_data(values, bag)
