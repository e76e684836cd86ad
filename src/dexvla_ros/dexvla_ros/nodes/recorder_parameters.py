"""The parameters of recorder_node."""

from types import SimpleNamespace

from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.recording.bag_writer import WriterSettings
from dexvla_ros.recording.topic_selection import USUAL_TOPICS

PARAMETERS = (
    ParameterSpec("out", "outputs/episodes", "Folder that the episodes go into."),
    ParameterSpec(
        "topics",
        USUAL_TOPICS,
        "Topics to record besides what the robot file names; those that are not there do no harm.",
    ),
    ParameterSpec(
        "topic_pattern", "", "Further topics: a regular expression for the whole absolute name; empty = none."
    ),
    ParameterSpec(
        "exclude_pattern",
        "",
        "Topics to leave out, likewise; cameras and joint_states are recorded all the same.",
    ),
    ParameterSpec(
        "require_topics", True, "Refuse to begin while a camera or joint_states of the robot is missing."
    ),
    ParameterSpec(
        "compression_level", 1, "Level of zstd; negative ones are faster, and compress images less.", -100, 19
    ),
    ParameterSpec("chunk_mb", 4.0, "Size at which a chunk of the file is closed, MB.", 0.1, 64.0),
    ParameterSpec(
        "flush_s", 0.4, "Time after which it is closed in any case, and put on the disk, s.", 0.05, 0.9
    ),
    ParameterSpec(
        "queue_mb",
        256.0,
        "Messages that may wait for the disk, MB; what does not fit is dropped.",
        1.0,
        65536.0,
    ),
    ParameterSpec(
        "disk_reserve_gb", 2.0, "With less room on the disk the recording ends, GB.", 0.0, 1e6
    ),
    ParameterSpec("repair", True, "Repair episodes in out that were cut off, at the start."),
)


def writer_settings(settings: SimpleNamespace) -> WriterSettings:
    """How bags are written, by the values of the parameters."""
    return WriterSettings(
        compression_level=settings.compression_level,
        chunk_bytes=int(settings.chunk_mb * 1e6),
        flush_s=settings.flush_s,
        queue_bytes=int(settings.queue_mb * 1e6),
        disk_reserve_bytes=int(settings.disk_reserve_gb * 1e9),
    )
