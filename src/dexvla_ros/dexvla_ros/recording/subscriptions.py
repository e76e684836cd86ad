"""Subscriptions to whatever is to be recorded: serialised, with the QoS that its publishers offer."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from dexvla_ros.recording.bag_metadata import BagTopic
from dexvla_ros.recording.message_definitions import UnknownMessageType, message_class, message_definition
from dexvla_ros.recording.sequence_tracker import SequenceTracker
from dexvla_ros.recording.topic_selection import TopicSelection, WantedTopic

# Messages that the middleware keeps while Python is busy: a second of a camera, several of everything else.
_DEPTH = 2000
_LARGE_DEPTH = 40
# What is latched and comes more often is no latched state.
_SEEN_MAX = 1000
_LARGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2", "dexvla_msgs/msg/Observation")


@dataclass
class RecordedTopic:
    """A topic that is subscribed to.

    Attributes:
        publishers: how many there are. received: messages since the node was activated.
        reliable, latched: what the subscription asks for.
        seen: sequence numbers and times of latched messages since the last renewal, which come twice.
    """

    wanted: WantedTopic
    bag_topic: BagTopic
    definition: str
    tracker: SequenceTracker = field(default_factory=SequenceTracker)
    publishers: int = 1
    received: int = 0
    reliable: bool = False
    latched: bool = False
    seen: set[tuple[int, int]] = field(default_factory=set)
    subscription: Subscription | None = None

    @property
    def name(self) -> str:
        return self.bag_topic.name

    @property
    def lost(self) -> int:
        """Messages since the node was activated that were published and did not arrive."""
        return self.tracker.lost


# Called with topic, data, sequence, log time and publish time (ns).
Sink = Callable[[RecordedTopic, bytes, int, int, int], None]


class Subscriptions:
    """Finds topics as they appear, and follows their publishers.

    Args:
        guard: wraps callbacks so that none dies silently.
        complain: told once what cannot be recorded.
    """

    def __init__(
        self,
        node: Node,
        selection: TopicSelection,
        sink: Sink,
        guard: Callable[[Callable], Callable],
        complain: Callable[[str], None],
    ) -> None:
        self._node = node
        self._selection = selection
        self._sink = sink
        self._guard = guard
        self._complain = complain
        self._refused: set[tuple[str, str]] = set()
        self._sim_time = node.get_parameter("use_sim_time").value
        self.topics: dict[str, RecordedTopic] = {}

    def refresh(self) -> None:
        """Look at the graph: subscribe to what is new, adapt to publishers that came or went."""
        for name, types in self._node.get_topic_names_and_types():
            if any(part.startswith("_") for part in name.split("/")):
                continue  # hidden: the inside of actions
            topic = self.topics.get(name)
            wanted = topic.wanted if topic is not None else self._selection.find(name)
            if wanted is None:
                continue
            count = self._node.count_publishers(name)
            if topic is None and count and self._is_known(name, types):
                self._add(wanted, types[0])
            elif topic is not None and count != topic.publishers:
                self._adapt(topic)

    def renew_latched(self) -> None:
        """Subscribe anew to what is latched: its last messages come again, for the episode that begins."""
        for topic in self.topics.values():
            if topic.latched:
                topic.seen.clear()
                self._resubscribe(topic, topic.reliable, topic.latched)

    def missing(self) -> tuple[str, ...]:
        """Required topics that nobody publishes."""
        return tuple(
            name
            for name in self._selection.required
            if name not in self.topics or not self._node.count_publishers(name)
        )

    def close(self) -> None:
        """End all subscriptions."""
        for topic in self.topics.values():
            self._node.destroy_subscription(topic.subscription)
        self.topics.clear()

    def _is_known(self, name: str, types: Sequence[str]) -> bool:
        if (name, *types) in self._refused:
            return False
        reason = ""
        if len(types) > 1:
            reason = f"it is published with different types ({', '.join(types)})"
        else:
            try:
                message_class(types[0])
                message_definition(types[0])
            except UnknownMessageType as error:
                reason = str(error)
        if reason:
            self._refused.add((name, *types))
            self._complain(f"{name} is not recorded: {reason}")
        return not reason

    def _add(self, wanted: WantedTopic, type_name: str) -> None:
        infos = self._node.get_publishers_info_by_topic(wanted.name)
        if not infos:
            return
        bag_topic = BagTopic(
            wanted.name, type_name, _type_hash(infos), tuple(_qos_mapping(info.qos_profile) for info in infos)
        )
        topic = RecordedTopic(wanted, bag_topic, message_definition(type_name), publishers=len(infos))
        self.topics[wanted.name] = topic
        self._subscribe(topic, *_common_qos(infos))

    def _adapt(self, topic: RecordedTopic) -> None:
        infos = self._node.get_publishers_info_by_topic(topic.name)
        topic.publishers = len(infos)
        # A topic without publishers keeps its subscription: the next one is mostly like the last one.
        if infos and _common_qos(infos) != (topic.reliable, topic.latched):
            self._resubscribe(topic, *_common_qos(infos))

    def _resubscribe(self, topic: RecordedTopic, reliable: bool, latched: bool) -> None:
        self._node.destroy_subscription(topic.subscription)
        topic.tracker.restart()
        self._subscribe(topic, reliable, latched)

    def _subscribe(self, topic: RecordedTopic, reliable: bool, latched: bool) -> None:
        topic.reliable, topic.latched = reliable, latched
        type_name = topic.bag_topic.type_name
        profile = QoSProfile(
            depth=_LARGE_DEPTH if type_name in _LARGE_TYPES else _DEPTH,
            history=HistoryPolicy.KEEP_LAST,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        topic.subscription = self._node.create_subscription(
            message_class(type_name), topic.name, self._callback(topic), profile, raw=True
        )

    def _callback(self, topic: RecordedTopic) -> Callable:
        sink, clock, sim_time = self._sink, self._node.get_clock(), self._sim_time

        def take(data: bytes, info: dict[str, Any]) -> None:
            sequence = info["publication_sequence_number"]
            if topic.latched and _is_repeated(topic, (sequence, info["source_timestamp"])):
                return
            if sequence is None:
                sequence = 0
            else:
                topic.tracker.observe(sequence, topic.publishers)
            if sim_time:
                # The publisher's own stamp is of the system's clock: it means nothing beside a simulated one.
                publish_ns = log_ns = clock.now().nanoseconds
            else:
                log_ns, publish_ns = info["received_timestamp"], info["source_timestamp"]
            topic.received += 1
            sink(topic, data, sequence, log_ns, publish_ns)

        return _with_info(self._guard(take))


def _with_info(callback: Callable[[bytes, dict[str, Any]], None]) -> Callable:
    """A callback that rclpy takes for one that wants to know about the message, too.

    The events executor of rclpy 7.1 passes such a callback data and information as one tuple; others pass two
    arguments.
    """

    def call(*arguments: Any) -> None:
        callback(*(arguments[0] if len(arguments) == 1 else arguments))

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("data", "info")
    ]
    call.__signature__ = inspect.Signature(parameters)
    return call


def _is_repeated(topic: RecordedTopic, message: tuple[int, int]) -> bool:
    if message in topic.seen:
        return True
    if len(topic.seen) < _SEEN_MAX:
        topic.seen.add(message)
    return False


def _common_qos(infos: Sequence[TopicEndpointInfo]) -> tuple[bool, bool]:
    """Whether all publishers are reliable, and whether all latch: what a subscription to all may ask for."""
    profiles = [info.qos_profile for info in infos]
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    return reliable, latched


def _type_hash(infos: Sequence[TopicEndpointInfo]) -> str:
    found = str(infos[0].topic_type_hash)
    return found if found.startswith("RIHS") else ""


def _qos_mapping(profile: QoSProfile) -> dict[str, object]:
    """A profile as rosbag2 writes it."""
    return {
        "history": profile.history.name.lower(),
        "depth": profile.depth,
        "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(),
        "deadline": _qos_time(profile.deadline),
        "lifespan": _qos_time(profile.lifespan),
        "liveliness": profile.liveliness.name.lower(),
        "liveliness_lease_duration": _qos_time(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
    }


def _qos_time(duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 10**9)
    return {"sec": seconds, "nsec": nanoseconds}
