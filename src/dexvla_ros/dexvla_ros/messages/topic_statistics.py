"""dexvla_msgs/TopicStatistics: what has been recorded of every topic."""

from collections.abc import Iterable, Mapping

from dexvla_msgs.msg import TopicStatistics
from dexvla_ros.recording.episode import TopicCount
from dexvla_ros.recording.topic_selection import WantedTopic


def topic_statistics_to_messages(
    topics: Iterable[tuple[WantedTopic, str]], counts: Mapping[str, TopicCount], rates_hz: Mapping[str, float]
) -> list[TopicStatistics]:
    """One message per topic, in the same order.

    Args:
        topics: each with its message type, empty while nobody publishes on it.
    """
    messages = []
    for wanted, type_name in topics:
        count = counts.get(wanted.name, TopicCount())
        messages.append(
            TopicStatistics(
                name=wanted.name,
                type=type_name,
                messages=count.messages,
                bytes=count.bytes,
                drops=count.drops,
                rate_hz=rates_hz.get(wanted.name, 0.0),
                nominal_hz=wanted.nominal_hz,
            )
        )
    return messages
