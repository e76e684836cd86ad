"""Writes a bag in a thread of its own: whoever hands messages over never waits for the disk. No ROS."""

import fcntl
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from dexvla_ros.recording.bag_metadata import BagFile, BagTopic, sync_folder, write_bag_metadata
from dexvla_ros.recording.episode_metadata import RECORD_NAME
from dexvla_ros.recording.mcap_file import McapFile
from dexvla_ros.recording.message_definitions import ENCODING

LIBRARY = "dexvla_ros"
# Given back when the disk is full, so that the file can still be finished.
RESERVE_FILE = ".room_for_the_end"
_RESERVE_BYTES = 8 * 2**20
# The thread looks for messages this often: being woken for each of them costs more than writing it.
_POLL_S = 0.04
_DISK_PERIOD_S = 0.25
_END_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class WriterSettings:
    """How a bag is written.

    Attributes:
        compression_level: of zstd; negative ones are faster.
        chunk_bytes: a chunk is closed when it holds so much.
        flush_s: a chunk is closed at the latest after this time; what is closed is put on the disk as often.
        queue_bytes: messages that wait for the disk; what does not fit is dropped, and counted.
        disk_reserve_bytes: with less room on the disk the recording ends.
    """

    compression_level: int = 1
    chunk_bytes: int = 4 * 2**20
    flush_s: float = 0.4
    queue_bytes: int = 256 * 2**20
    disk_reserve_bytes: int = 2 * 2**30


class BagWriter:
    """One bag, from the first message to metadata.yaml.

    Args:
        bag: the folder; made here, must not exist.
        metadata: custom data of the start, written into the file at once.
        on_stop: called from the writer's thread, with a sentence, when it cannot go on; what is in the file
            by then stays, and `finish` has to be called all the same.

    Raises:
        OSError: the folder or the file cannot be made.
    """

    def __init__(
        self, bag: Path, settings: WriterSettings, metadata: Mapping[str, str], on_stop: Callable[[str], None]
    ) -> None:
        self.bag = bag
        self._settings = settings
        self._on_stop = on_stop
        self._queue: deque[tuple] = deque()
        # Each of the two has one thread that writes it: no lock is needed.
        self._bytes_in = 0
        self._bytes_out = 0
        self._topics: list[BagTopic] = []
        self._channels: list[int] = []
        self.stopped = ""
        self.disk_free = shutil.disk_usage(bag.parent).free
        bag.mkdir(parents=True)
        self._file = McapFile(bag / f"{bag.name}_0.mcap", LIBRARY, settings.compression_level)
        try:
            # Whoever repairs bags leaves a locked file alone.
            fcntl.flock(self._file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.add_metadata(RECORD_NAME, metadata)
            _take_room(bag / RESERVE_FILE)
            self._file.sync()
            sync_folder(bag)
            sync_folder(bag.parent)
        except OSError:
            self._file.close()
            shutil.rmtree(bag, ignore_errors=True)
            raise
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer of {bag.name}", daemon=True)
        self._syncer = threading.Thread(target=self._sync, name=f"sync of {bag.name}", daemon=True)
        self._thread.start()
        self._syncer.start()

    # For the thread that hands messages over

    def add_topic(self, topic: BagTopic, definition: str) -> int:
        """Announce a topic before its first message; its number, from 0."""
        self._topics.append(topic)
        self._queue.append((self._write_topic, topic, definition))
        return len(self._topics) - 1

    def put(self, topic: int, sequence: int, log_ns: int, publish_ns: int, data: bytes) -> bool:
        """Hand a message over; False where there is no room for it, or the writer has stopped."""
        if self.stopped or self._bytes_in - self._bytes_out + len(data) > self._settings.queue_bytes:
            return False
        self._bytes_in += len(data)
        self._queue.append((None, topic, sequence, log_ns, publish_ns, data))
        return True

    def put_metadata(self, metadata: Mapping[str, str]) -> None:
        """Write the episode's metadata as they are now into the file; the last ones count."""
        self._queue.append((self._write_metadata, dict(metadata)))

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._bytes_in - self._bytes_out

    @property
    def file_bytes(self) -> int:
        """Size of the file so far."""
        return self._file.size

    def counts(self) -> dict[str, int]:
        """Messages by topic that are in the file."""
        counts = self._file.counts
        return {topic.name: counts.get(channel, 0) for topic, channel in zip(self._topics, self._channels)}

    @property
    def time_span_ns(self) -> tuple[int, int]:
        """First and last log time in the file; both 0 while it is empty."""
        return self._file.start_ns, self._file.end_ns

    def drain(self) -> None:
        """Wait until everything that was handed over is in the file, or never will be."""
        self._ending.set()
        self._thread.join(_END_TIMEOUT_S)
        self._syncer.join(_END_TIMEOUT_S)
        if self._thread.is_alive():
            raise OSError(f"the disk with {self.bag} has not answered for {_END_TIMEOUT_S:g} s")

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Finish the bag, after `drain`.

        Raises:
            OSError: the disk does not take the end; the bag is left as one that was cut off.
        """
        (self.bag / RESERVE_FILE).unlink(missing_ok=True)
        try:
            self._file.add_metadata(RECORD_NAME, metadata)
            self._file.finish()
        finally:
            self._file.close()
        start_ns, end_ns = self.time_span_ns
        file = BagFile(self._file.path.name, start_ns, end_ns, self.counts())
        write_bag_metadata(self.bag, [file], self._topics, metadata)

    def discard(self) -> None:
        """Delete everything, after `drain`."""
        self._file.close()
        shutil.rmtree(self.bag)

    # The writer's thread

    def _run(self) -> None:
        last_flush_s = last_look_s = monotonic()
        try:
            while True:
                # Read before the queue is emptied: what is put after the end was asked for is not waited for.
                is_last = self._ending.wait(_POLL_S)
                self._take_all()
                now_s = monotonic()
                if is_last or now_s - last_flush_s >= self._settings.flush_s:
                    self._file.flush()
                    last_flush_s = now_s
                if is_last:
                    return
                if now_s - last_look_s >= _DISK_PERIOD_S:
                    self._look_at_disk()
                    last_look_s = now_s
        except OSError as error:
            (self.bag / RESERVE_FILE).unlink(missing_ok=True)
            self._stop(f"the disk does not take what is recorded ({error.strerror})")
        except Exception as error:
            self._stop(f"the writer failed with {type(error).__name__}: {error}")
            raise
        finally:
            self._queue.clear()

    def _take_all(self) -> None:
        queue, file, chunk_bytes = self._queue, self._file, self._settings.chunk_bytes
        while queue:
            action, *arguments = queue.popleft()
            if action is not None:
                action(*arguments)
                continue
            topic, sequence, log_ns, publish_ns, data = arguments
            file.add_message(self._channels[topic], sequence, log_ns, publish_ns, data)
            self._bytes_out += len(data)
            if file.pending_bytes >= chunk_bytes:
                file.flush()

    def _write_topic(self, topic: BagTopic, definition: str) -> None:
        metadata = {"offered_qos_profiles": topic.qos_yaml(), "topic_type_hash": topic.type_hash}
        channel = self._file.add_channel(topic.name, topic.type_name, ENCODING, definition, metadata)
        self._channels.append(channel)

    def _write_metadata(self, metadata: Mapping[str, str]) -> None:
        self._file.add_metadata(RECORD_NAME, metadata)

    def _look_at_disk(self) -> None:
        self.disk_free = shutil.disk_usage(self.bag).free
        if not self.stopped and self.disk_free < self._settings.disk_reserve_bytes:
            self._stop(disk_full_sentence(self.bag, self.disk_free, self._settings.disk_reserve_bytes))

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        self._on_stop(reason)

    # The thread that waits for the disk

    def _sync(self) -> None:
        while not self._ending.wait(self._settings.flush_s) and not self.stopped:
            try:
                self._file.sync()
            except OSError as error:
                self._stop(f"the disk does not take what is recorded ({error.strerror})")


def disk_full_sentence(folder: Path, free_bytes: int, reserve_bytes: int) -> str:
    """Why nothing can be recorded, for the operator."""
    return (
        f"the disk with {folder} has {free_bytes / 1e9:.1f} GB left "
        f"(disk_reserve_gb keeps {reserve_bytes / 1e9:.1f} free): make room"
    )


def _take_room(path: Path) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
