"""A program's own node leaves the graph when it says so, whoever still holds parts of it."""

import pytest
from rclpy.action import ActionClient
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from dexvla_msgs.action import ExecuteTask
from dexvla_ros.graph_client import GraphClient, GraphTimeout
from dexvla_ros.nodes.qos import LATCHED

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0


def test_what_a_closed_client_had_is_gone_although_it_is_still_held(witness):
    leaves = GraphClient("leaves", False)
    publisher = leaves.node.create_publisher(Bool, "topic", LATCHED)
    held = [
        publisher,
        leaves.node.create_subscription(Bool, "topic", lambda message: None, LATCHED),
        leaves.node.create_client(Trigger, "service"),
        ActionClient(leaves.node, ExecuteTask, "action"),
        leaves.node.create_timer(0.01, lambda: publisher.publish(Bool())),
    ]
    leaves.turn()
    here = witness.node
    witness.wait_until(lambda: here.count_publishers("topic") == 1, PATIENCE_S, "the publisher is known")
    leaves.close()
    witness.wait_until(lambda: here.get_node_names() == ["witness"], PATIENCE_S, "the node is gone")
    witness.wait_until(
        lambda: not here.count_publishers("topic") and not here.count_subscribers("topic"),
        PATIENCE_S,
        "its topics are gone",
    )
    assert len(held) == 5


def test_waiting_in_vain_says_for_what(witness):
    with pytest.raises(GraphTimeout, match="Waited 0.1 s in vain: the service nowhere is there"):
        witness.call(Trigger, "nowhere", Trigger.Request(), 0.1)
