"""The simulator's ground truth as visualization_msgs/MarkerArray, which RViz and Foxglove show, and back.

Each object is a marker with its name as namespace. One more marker, of text and invisible, carries the
whole ground truth as JSON: a scripted policy needs what no marker has a field for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import ImageColor
from visualization_msgs.msg import Marker, MarkerArray

from dexvla_model.observation import InvalidObservation
from dexvla_ros.messages.stamps import stamp_to_message

_DATA_NAMESPACE = "ground_truth"
_CONTAINER_COLOURS = {"tray": "dimgray", "bin": "saddlebrown"}
_CONTAINER_HEIGHT_M = 0.004
_UNKNOWN_COLOUR = "gray"
_NO_TURN = (0.0, 0.0, 0.0, 1.0)


def ground_truth_to_message(ground_truth: Mapping[str, Any], stamp_s: float, frame: str) -> MarkerArray:
    """Markers in `frame` (the robot's base, m) of the objects and containers, and the data marker.

    Args:
        ground_truth: see `Task.ground_truth`: plain numbers, texts, lists and mappings.
    """
    markers = []
    for item in ground_truth.get("objects", ()):
        half_size = item["half_size"]
        size = [2.0 * half for half in (half_size if isinstance(half_size, list) else [half_size] * 3)]
        markers.append(_cube(item["name"], item["position"], item["quaternion"], size, item["colour"]))
    for name in filter(ground_truth.__contains__, _CONTAINER_COLOURS):
        container = ground_truth[name]
        size = [2.0 * extent for extent in container["half_extents"]] + [_CONTAINER_HEIGHT_M]
        markers.append(_cube(name, container["position"], _NO_TURN, size, _CONTAINER_COLOURS[name]))
    data = Marker(type=Marker.TEXT_VIEW_FACING, ns=_DATA_NAMESPACE, text=json.dumps(dict(ground_truth)))
    data.scale.z = 0.001
    markers.append(data)
    for marker in markers:
        marker.header.stamp = stamp_to_message(stamp_s)
        marker.header.frame_id = frame
    return MarkerArray(markers=markers)


def ground_truth_from_message(message: MarkerArray) -> dict[str, Any]:
    """The ground truth as it was given to `ground_truth_to_message`.

    Raises:
        InvalidObservation: the message has no data marker, or not JSON in it.
    """
    for marker in message.markers:
        if marker.ns == _DATA_NAMESPACE:
            try:
                return json.loads(marker.text)
            except json.JSONDecodeError as error:
                raise InvalidObservation(f"the ground truth is not JSON: {error}") from error
    raise InvalidObservation(f"the markers have none in the namespace {_DATA_NAMESPACE!r}")


def _cube(
    name: str,
    position: Sequence[float],
    quaternion: Sequence[float],
    size: Sequence[float],
    colour: str,
) -> Marker:
    marker = Marker(type=Marker.CUBE, ns=name)
    pose = marker.pose
    pose.position.x, pose.position.y, pose.position.z = map(float, position)
    orientation = pose.orientation
    orientation.x, orientation.y, orientation.z, orientation.w = map(float, quaternion)
    marker.scale.x, marker.scale.y, marker.scale.z = map(float, size)
    rgb = ImageColor.getrgb(colour if colour in ImageColor.colormap else _UNKNOWN_COLOUR)
    marker.color.r, marker.color.g, marker.color.b = (channel / 255.0 for channel in rgb)
    marker.color.a = 1.0
    return marker
