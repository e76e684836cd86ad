"""The text that makes a bag readable without the packages that wrote it."""

import json

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dexvla_ros.recording import message_definitions
from dexvla_ros.recording.message_definitions import UnknownMessageType, message_class, message_definition


def hash_of(type_name: str) -> str:
    """REP-2016's hash, by an independent implementation, from our text alone."""
    own, *others = message_definition(type_name).split("=" * 80 + "\n")
    types = get_types_from_msg(own, type_name)
    for other in others:
        head, _, text = other.partition("\n")
        package, name = head.removeprefix("MSG: ").split("/")
        types |= get_types_from_msg(text, f"{package}/msg/{name}")
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store.hash_rihs01(type_name)


@pytest.mark.parametrize(
    "type_name",
    [
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/JointState",
        "trajectory_msgs/msg/JointTrajectory",
        "diagnostic_msgs/msg/DiagnosticArray",
        "dexvla_msgs/msg/Observation",
        "dexvla_msgs/msg/RecorderStatus",
        "rosgraph_msgs/msg/Clock",
    ],
)
def test_the_text_describes_the_type_that_ros_knows(type_name):
    package, _, name = type_name.partition("/msg/")
    files = (share / package / "msg" / f"{name}.json" for share in message_definitions._share_folders())
    description = json.loads(next(file for file in files if file.is_file()).read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hash_of(type_name) == hashes[type_name]


def test_every_used_message_stands_in_it_once():
    text = message_definition("dexvla_msgs/msg/Observation")
    for name in ("std_msgs/Header", "builtin_interfaces/Time", "sensor_msgs/Image", "sensor_msgs/JointState"):
        assert text.count(f"MSG: {name}\n") == 1


def test_without_msg_files_the_layout_is_taken_from_the_class(monkeypatch):
    expected = {name: hash_of(name) for name in ("sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/JointState")}
    monkeypatch.setattr(message_definitions, "_share_folders", lambda: iter(()))
    message_definition.cache_clear()
    assert {name: hash_of(name) for name in expected} == expected
    message_definition.cache_clear()


@pytest.mark.parametrize(
    "type_name", ["nowhere_msgs/msg/Thing", "std_msgs/msg/Nothing", "std_srvs/srv/Trigger", "x"]
)
def test_a_type_that_is_not_installed_is_named(type_name):
    with pytest.raises(UnknownMessageType, match=type_name):
        message_class(type_name)
