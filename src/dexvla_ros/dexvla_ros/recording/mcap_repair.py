"""Copies what is whole of an MCAP file that was cut off into a new one that takes its place. No ROS."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import zstandard
from lz4 import frame as lz4
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Message, Metadata, Schema
from mcap.writer import MCAP0_MAGIC

from dexvla_model.errors import UserError
from dexvla_ros.recording.append_file import BLOCK
from dexvla_ros.recording.bag_metadata import sync_folder
from dexvla_ros.recording.mcap_file import COMPRESSION, McapFile

_SUFFIX = ".repaired"
_RECORD_HEAD = 9
# Opcode, length, checksum, and the magic that every whole file ends with.
_END_BYTES = 20 + _RECORD_HEAD + len(MCAP0_MAGIC)
_LARGEST_RECORD = 2**32
_CHUNK_BYTES = 2**22
# What a damaged record raises when it is read.
_DAMAGE = (McapError, ValueError, KeyError, zstandard.ZstdError, RuntimeError)


def is_whole(file: Path) -> bool:
    """Whether a file ends as a finished one does."""
    size = file.stat().st_size
    if size < _END_BYTES + len(MCAP0_MAGIC):
        return False
    with file.open("rb") as stream:
        stream.seek(size - _END_BYTES)
        end = stream.read()
    return end.endswith(MCAP0_MAGIC) and end[0] == Opcode.FOOTER


def rewrite(file: Path) -> int:
    """Copy the whole records of a file into a new one that takes its place.

    Returns:
        the bytes at its end that were no whole records.

    Raises:
        UserError: it is no MCAP file, or the disk has no room for the copy; the file is as it was.
    """
    free = shutil.disk_usage(file.parent).free
    size = file.stat().st_size
    if free < size + 2**20:
        raise UserError(
            f"{file}: the repair needs a copy of {size / 1e9:.2f} GB, "
            f"and the disk has {free / 1e9:.2f} GB left; make room."
        )
    new_path = file.with_name(file.name + _SUFFIX)
    new_path.unlink(missing_ok=True)
    try:
        with file.open("rb") as stream:
            lost = _lost_bytes(stream, _copy_records(stream, file, new_path))
        shutil.copymode(file, new_path)
        os.replace(new_path, file)
    except OSError as error:
        raise UserError(f"{file}: the repair failed ({error.strerror}); the file is as it was.") from error
    finally:
        new_path.unlink(missing_ok=True)
    sync_folder(file.parent)
    return lost


def _copy_records(stream: BinaryIO, file: Path, new_path: Path) -> int:
    """Write what is whole to a new file and finish that; the bytes of the old one that were of use."""
    if stream.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
        raise UserError(f"{file}: this is no MCAP file (it does not begin as one); it cannot be repaired.")
    library = ""
    target: McapFile | None = None
    channels: dict[int, int] = {}
    schemas: dict[int, Schema] = {}
    used = stream.tell()

    def announce(channel: Channel) -> None:
        if channel.id not in channels:
            schema = schemas.get(channel.schema_id)
            if schema is None:
                raise McapError(f"the channel {channel.topic} has no schema")
            channels[channel.id] = target.add_channel(
                channel.topic, schema.name, schema.encoding, schema.data.decode(), channel.metadata
            )

    try:
        for opcode, content, end in _records(stream):
            reader = ReadDataStream(BytesIO(content))
            if target is None:
                if opcode == Opcode.HEADER:
                    library = Header.read(reader).library
                target = McapFile(new_path, library)
            try:
                if opcode == Opcode.SCHEMA:
                    schema = Schema.read(reader)
                    schemas.setdefault(schema.id, schema)
                elif opcode == Opcode.CHANNEL:
                    announce(Channel.read(reader))
                elif opcode == Opcode.METADATA:
                    metadata = Metadata.read(reader)
                    target.flush()
                    target.add_metadata(metadata.name, metadata.metadata)
                elif opcode == Opcode.MESSAGE:
                    _copy_message(Message.read(reader, len(content)), target, channels)
                elif opcode == Opcode.CHUNK:
                    _copy_chunk(Chunk.read(reader), target, channels, schemas, announce)
                elif opcode == Opcode.DATA_END:
                    break
            except _DAMAGE:
                break  # what a power failure leaves may have the right length and be garbage
            used = end
        if target is None:
            target = McapFile(new_path, library)
        target.finish()
    finally:
        if target is not None:
            target.close()
    return used


def _lost_bytes(stream: BinaryIO, used: int) -> int:
    """What stands behind the records that were of use, without the zeros that fill the last block."""
    stream.seek(used)
    lost = 0
    while piece := stream.read(2**20):
        lost = lost + len(piece) if lost or len(piece) >= BLOCK else len(piece.rstrip(b"\0"))
    return lost


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Opcode, content and end of every whole record."""
    while True:
        head = stream.read(_RECORD_HEAD)
        if len(head) < _RECORD_HEAD:
            return
        length = int.from_bytes(head[1:], "little")
        if not head[0] or length > _LARGEST_RECORD:
            return
        content = stream.read(length)
        if len(content) < length:
            return
        yield head[0], content, stream.tell()


def _copy_message(message: Message, target: McapFile, channels: dict[int, int]) -> None:
    target.add_message(
        channels[message.channel_id], message.sequence, message.log_time, message.publish_time, message.data
    )
    if target.pending_bytes > _CHUNK_BYTES:
        target.flush()


def _copy_chunk(
    chunk: Chunk,
    target: McapFile,
    channels: dict[int, int],
    schemas: dict[int, Schema],
    announce: Callable[[Channel], None],
) -> None:
    """As it is where that is possible; else its messages."""
    content = _decompress(chunk)
    if chunk.uncompressed_crc and zlib.crc32(content) != chunk.uncompressed_crc:
        raise McapError("a chunk's checksum does not match")
    entries: dict[int, list[tuple[int, int]]] = {}
    messages = []
    only_messages = True
    stream = BytesIO(content)
    for opcode, body, end in _records(stream):
        reader = ReadDataStream(BytesIO(body))
        if opcode == Opcode.MESSAGE:
            message = Message.read(reader, len(body))
            entries.setdefault(message.channel_id, []).append(
                (message.log_time, end - len(body) - _RECORD_HEAD)
            )
            messages.append(message)
        else:
            only_messages = False
            if opcode == Opcode.SCHEMA:
                schema = Schema.read(reader)
                schemas.setdefault(schema.id, schema)
            elif opcode == Opcode.CHANNEL:
                announce(Channel.read(reader))
    same_numbers = all(channels[channel] == channel for channel in entries)
    if chunk.compression == COMPRESSION and only_messages and same_numbers:
        target.flush()
        times = chunk.message_start_time, chunk.message_end_time
        target.add_chunk(chunk.data, len(content), *times, entries, chunk.uncompressed_crc)
        return
    for message in messages:
        _copy_message(message, target, channels)
    target.flush()


def _decompress(chunk: Chunk) -> bytes:
    if chunk.compression == "zstd":
        decompressor = zstandard.ZstdDecompressor()
        content = decompressor.decompress(chunk.data, max_output_size=chunk.uncompressed_size)
    elif chunk.compression == "lz4":
        content = lz4.decompress(chunk.data)
    elif not chunk.compression:
        content = chunk.data
    else:
        raise McapError(f"unknown compression {chunk.compression!r}")
    if len(content) != chunk.uncompressed_size:
        raise McapError("a chunk's size does not match")
    return content
