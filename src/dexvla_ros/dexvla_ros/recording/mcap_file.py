"""An MCAP file that is written in chunks and is whole up to the last chunk at any moment. No ROS.

The records are those of the `mcap` package; only the two that carry the data, message and chunk, are put
together here: its writer copies every message five times and knows neither compression levels nor a file that
fails.

Format: MCAP version 0, https://mcap.dev/spec.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from dexvla_ros.recording.append_file import AppendFile

COMPRESSION = "zstd"
# Opcode and length of a record, then a message's channel, sequence, log time and publish time.
_MESSAGE_HEAD = struct.Struct("<BQHIQQ")
_MESSAGE_FIELDS = 22
# Opcode and length of a record, then a chunk's times, size, checksum, compression, and size of what follows.
_CHUNK_HEAD = struct.Struct(f"<BQQQQII{len(COMPRESSION)}sQ")
_RECORD_HEAD = 9
_SEQUENCE_MASK = 0xFFFFFFFF


class McapFile:
    """Writes one file; not safe for several threads, but `sync` may run beside everything else.

    Schemas and channels stand outside the chunks, so that a reader of a cut-off file needs to open none to
    know what is in it. After an OSError the file ends behind its last whole record, and `finish` may be
    tried.

    Args:
        path: must not exist.
        library: name of the writing program.
        level: of zstd; negative ones are faster.
    """

    def __init__(self, path: Path, library: str, level: int = 1) -> None:
        self.path = path
        self._file = AppendFile(path)
        # Its checksum stands for MCAP's own, which takes four times as long; readers check either.
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        self._buffer = bytearray()
        self._used = 0
        self._pending: dict[int, list[tuple[int, int]]] = {}
        self._schemas: dict[str, Schema] = {}
        self._channels: list[Channel] = []
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self.counts: dict[int, int] = {}
        self.start_ns = 0
        self.end_ns = 0
        self._file.append(MCAP0_MAGIC, _record(Header(profile="ros2", library=library)))

    @property
    def fd(self) -> int:
        """File descriptor, for a lock."""
        return self._file.fd

    @property
    def size(self) -> int:
        """Bytes in the file, without the chunk that is being filled."""
        return self._file.size

    @property
    def pending_bytes(self) -> int:
        """Bytes in the chunk that is being filled."""
        return self._used

    @property
    def message_count(self) -> int:
        """Messages in the file, without the chunk that is being filled."""
        return sum(self.counts.values())

    def add_channel(
        self, topic: str, type_name: str, encoding: str, definition: str, metadata: Mapping[str, str]
    ) -> int:
        """Announce a topic; the channel's number, from 1.

        Args:
            type_name: such as `sensor_msgs/msg/Image`. encoding: of the definition, such as `ros2msg`.
            metadata: such as the offered QoS profiles.
        """
        schema = self._schemas.get(type_name)
        records = []
        if schema is None:
            number = len(self._schemas) + 1
            schema = Schema(id=number, name=type_name, encoding=encoding, data=definition.encode())
            records.append(_record(schema))
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding="cdr",
            metadata=dict(metadata),
            schema_id=schema.id,
        )
        self._file.append(*records, _record(channel))
        self._schemas[type_name] = schema
        self._channels.append(channel)
        self.counts[channel.id] = 0
        return channel.id

    def add_message(
        self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes | memoryview
    ) -> None:
        """Put a message into the chunk that is being filled."""
        size, used = len(data), self._used
        end = used + _MESSAGE_HEAD.size + size
        if end > len(self._buffer):
            self._buffer.extend(bytes(end - len(self._buffer)))
        _MESSAGE_HEAD.pack_into(
            self._buffer,
            used,
            Opcode.MESSAGE,
            _MESSAGE_FIELDS + size,
            channel,
            sequence & _SEQUENCE_MASK,
            log_ns,
            publish_ns,
        )
        self._buffer[used + _MESSAGE_HEAD.size : end] = data
        self._used = end
        self._pending.setdefault(channel, []).append((log_ns, used))

    def flush(self) -> None:
        """Write the chunk that is being filled, if it holds anything.

        Raises:
            OSError: the disk does not take it; its messages are lost.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        used, self._used = self._used, 0
        with memoryview(self._buffer) as buffer, buffer[:used] as content:
            compressed = self._compressor.compress(content)
        times = [entries[0][0] for entries in pending.values()] + [e[-1][0] for e in pending.values()]
        if any(_out_of_order(entries) for entries in pending.values()):
            times = [time_ns for entries in pending.values() for time_ns, _ in entries]
        self.add_chunk(compressed, used, min(times), max(times), pending)

    def add_chunk(
        self,
        compressed: bytes,
        size: int,
        start_ns: int,
        end_ns: int,
        entries: Mapping[int, list[tuple[int, int]]],
        crc: int = 0,
    ) -> None:
        """Write a compressed chunk.

        Args:
            size: of the content before compression.
            entries: by channel, log time and offset in the content of every message.
            crc: of the content; 0 = unknown.
        """
        head = _CHUNK_HEAD.pack(
            Opcode.CHUNK,
            _CHUNK_HEAD.size - _RECORD_HEAD + len(compressed),
            start_ns,
            end_ns,
            size,
            crc,
            len(COMPRESSION),
            COMPRESSION.encode(),
            len(compressed),
        )
        start = self._file.size
        length = len(head) + len(compressed)
        indexes, offsets = RecordBuilder(), {}
        for channel, records in entries.items():
            offsets[channel] = start + length + indexes.count
            MessageIndex(channel, records).write(indexes)
        index_bytes = indexes.end()
        self._file.append(head, compressed, index_bytes)
        self._chunks.append(
            ChunkIndex(
                chunk_start_offset=start,
                chunk_length=length,
                compression=COMPRESSION,
                compressed_size=len(compressed),
                uncompressed_size=size,
                message_start_time=start_ns,
                message_end_time=end_ns,
                message_index_offsets=offsets,
                message_index_length=len(index_bytes),
            )
        )
        self.start_ns = start_ns if not self.message_count else min(self.start_ns, start_ns)
        self.end_ns = max(self.end_ns, end_ns)
        for channel, records in entries.items():
            self.counts[channel] += len(records)

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a metadata record."""
        record = _record(Metadata(name=name, metadata=dict(values)))
        start = self._file.size
        self._file.append(record)
        self._metadata.append(MetadataIndex(offset=start, length=len(record), name=name))

    def finish(self) -> None:
        """Write what is pending and the summary; the file is whole then, and closed.

        Raises:
            OSError: the disk does not take it; the file is closed, and cut off.
        """
        try:
            self.flush()
            self._file.append(*self._summary())
            self._file.finish()
        finally:
            self.close()

    def sync(self) -> None:
        """Wait until everything written so far is on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _summary(self) -> list[bytes]:
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(self.counts),
            chunk_count=len(self._chunks),
            message_count=self.message_count,
            message_start_time=self.start_ns,
            message_end_time=self.end_ns,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        groups = {
            Opcode.SCHEMA: list(self._schemas.values()),
            Opcode.CHANNEL: self._channels,
            Opcode.STATISTICS: [statistics],
            Opcode.CHUNK_INDEX: self._chunks,
            Opcode.METADATA_INDEX: self._metadata,
        }
        data_end = _record(DataEnd(0))
        summary_start = self._file.size + len(data_end)
        summary, offsets = RecordBuilder(), []
        for opcode, records in groups.items():
            start = summary.count
            for record in records:
                record.write(summary)
            if summary.count > start:
                offsets.append(SummaryOffset(opcode, summary_start + start, summary.count - start))
        offset_start = summary_start + summary.count
        for offset in offsets:
            offset.write(summary)
        content = summary.end()
        # The checksum covers the footer's own fields before it.
        fields = struct.pack("<BQQQ", Opcode.FOOTER, 20, summary_start, offset_start)
        crc = zlib.crc32(fields, zlib.crc32(content))
        return [data_end, content, _record(Footer(summary_start, offset_start, crc)), MCAP0_MAGIC]


def _record(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()


def _out_of_order(entries: list[tuple[int, int]]) -> bool:
    return any(later[0] < earlier[0] for earlier, later in zip(entries, entries[1:]))
