"""What the tests of the recorder share: settings that suit a small disk, and writers."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dexvla_ros.recording.bag_writer import BagWriter, WriterSettings
from dexvla_ros.recording.episode_metadata import EpisodeMetadata

# Tests are imported by path: what they share besides fixtures has to be found by name.
sys.path.insert(0, str(Path(__file__).parent))
from conftest_recording import FakeSource, cdr_string  # noqa: E402


@pytest.fixture
def source() -> FakeSource:
    return FakeSource("/text")


@pytest.fixture
def settings() -> WriterSettings:
    return WriterSettings(flush_s=0.05, disk_reserve_bytes=0)


@pytest.fixture
def metadata(robot) -> EpisodeMetadata:
    return EpisodeMetadata("bag", robot.name, robot.text, "1.2.3", "host", "put it in", started_ns=1)


@dataclass
class Written:
    """A writer with one topic, and what was handed to it."""

    writer: BagWriter
    metadata: EpisodeMetadata
    messages: list[bytes] = field(default_factory=list)

    def put(self, count: int, size: int = 100) -> None:
        for _ in range(count):
            number = len(self.messages)
            data = cdr_string(f"{number:0{size}d}")
            assert self.writer.put(0, number, 1000 + number, 2000 + number, data)
            self.messages.append(data)


@pytest.fixture
def make_writer(tmp_path, settings, metadata, source):
    """Function from the name of a bag to a writer with the topic /text."""
    made = []

    def make(name: str = "bag", on_stop=lambda reason: None, settings=settings) -> Written:
        writer = BagWriter(tmp_path / name, settings, metadata.to_custom_data(), on_stop)
        writer.add_topic(source.bag_topic, source.definition)
        made.append(writer)
        return Written(writer, metadata)

    yield make
    for writer in made:
        writer.drain()
