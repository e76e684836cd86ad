"""What has arrived is served although the executor was not told of it."""

import pytest
import rclpy
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from dexvla_ros.nodes.qos import COMMAND, LATCHED
from dexvla_ros.nodes.unannounced import serve_unannounced

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0


@pytest.fixture
def node(witness):
    """A node without an executor: nobody is told of anything."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("node", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def serve_until(node, witness, condition):
    def served():
        serve_unannounced(node)
        return condition()

    witness.wait_until(served, PATIENCE_S, "the node is served")


def test_a_request_is_answered(node, witness):
    def answer(request, response):
        response.message = "here"
        return response

    node.create_service(Trigger, "question", answer)
    client = witness.node.create_client(Trigger, "question")
    witness.wait_until(client.service_is_ready, PATIENCE_S, "the service is there")
    asked = [client.call_async(Trigger.Request()) for _ in range(2)]
    serve_until(node, witness, lambda: all(future.done() for future in asked))
    assert [future.result().message for future in asked] == ["here", "here"]


def test_a_latched_message_is_taken(node, witness):
    heard = []
    witness.node.create_publisher(Bool, "stopped", LATCHED).publish(Bool(data=True))
    node.create_subscription(Bool, "stopped", heard.append, LATCHED)
    serve_until(node, witness, lambda: heard)
    assert heard == [Bool(data=True)]


def test_a_callback_that_wants_to_know_about_the_message_is_told(node, witness):
    heard = []
    witness.node.create_publisher(Bool, "stopped", LATCHED).publish(Bool(data=True))
    node.create_subscription(Bool, "stopped", lambda data, info: heard.append((data, info)), LATCHED, raw=True)
    serve_until(node, witness, lambda: heard)
    data, info = heard[0]
    assert deserialize_message(data, Bool).data
    assert info["source_timestamp"] > 0


def test_what_comes_again_anyway_is_left_to_the_executor(node, witness):
    heard = []
    moves = node.create_subscription(Bool, "moves", heard.append, COMMAND)
    publisher = witness.node.create_publisher(Bool, "moves", COMMAND)
    witness.wait_until(lambda: publisher.get_subscription_count() == 1, PATIENCE_S, "they are connected")
    publisher.publish(Bool(data=True))

    def is_still_there():
        serve_unannounced(node)
        with moves.handle:
            return moves.handle.take_message(Bool, False) is not None

    witness.wait_until(is_still_there, PATIENCE_S, "the message has come")
    assert not heard


def test_nothing_happens_where_nothing_waits(node):
    called = []
    node.create_service(Trigger, "question", lambda request, response: called.append(request) or response)
    serve_unannounced(node)
    assert not called
