"""Taking a node through a transition when requests or answers are lost, and when the node takes its time."""

import threading
import time

import pytest
import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from dexvla_ros import lifecycle_change
from dexvla_ros.graph_client import GraphClient, TransitionFailed
from dexvla_ros.own_domain import own_domain

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0


class Pupil(LifecycleNode):
    """Configures as the test says, and keeps count."""

    def __init__(self, context):
        super().__init__("pupil", context=context)
        self.configured = 0
        self.takes_s = 0.0
        self.verdict = TransitionCallbackReturn.SUCCESS
        self.change_state = self.service(ChangeState)

    def service(self, kind):
        return next(service for service in self.services if service.srv_type is kind)

    def on_configure(self, state):
        self.configured += 1
        time.sleep(self.takes_s)
        return self.verdict


@pytest.fixture
def pupil(monkeypatch):
    """A node that nobody serves until `serve` is called."""
    monkeypatch.setattr(lifecycle_change, "_LOOK_PERIOD_S", 0.3)
    with own_domain():
        context = rclpy.Context()
        rclpy.init(context=context)
        node = Pupil(context)
        executor = EventsExecutor(context=context)
        end = rclpy.Future()

        def serve():
            executor.add_node(node)
            executor.spin_until_future_complete(end, 1e6)

        thread = threading.Thread(target=serve)
        node.serve = thread.start
        yield node
        executor.create_task(lambda: end.set_result(None))
        if thread.ident is not None:
            thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.fixture
def client(pupil):
    client = GraphClient("teacher", False)
    yield client
    client.close()


def test_a_request_that_is_lost_is_sent_again(pupil, client):
    def lose_the_first():
        taken = None
        while taken is None:
            with pupil.change_state.handle:
                taken = pupil.change_state.handle.service_take_request(ChangeState.Request)
            time.sleep(0.01)
        pupil.serve()

    threading.Thread(target=lose_the_first).start()
    client.transition(["pupil"], "configure", PATIENCE_S)
    assert pupil.configured == 1


def test_an_answer_that_is_lost_is_not_missed(pupil, client):
    pupil.change_state.send_response = lambda response, header: None
    pupil.serve()
    client.transition(["pupil"], "configure", PATIENCE_S)
    assert pupil.configured == 1


def test_neither_is_one_of_which_the_next_answer_is_lost_too(pupil, client):
    pupil.change_state.send_response = lambda response, header: None
    state = pupil.service(GetState)
    answer, lost = state.send_response, []
    state.send_response = lambda *response: answer(*response) if lost else lost.append(response)
    pupil.serve()
    client.transition(["pupil"], "configure", PATIENCE_S)
    assert len(lost) == 1
    assert pupil.configured == 1


def test_a_node_that_takes_its_time_is_asked_once(pupil, client):
    pupil.takes_s = 2.0
    pupil.serve()
    client.transition(["pupil"], "configure", PATIENCE_S)
    assert pupil.configured == 1


def test_a_node_that_refuses_is_not_asked_again(pupil, client):
    pupil.verdict = TransitionCallbackReturn.FAILURE
    pupil.serve()
    with pytest.raises(TransitionFailed, match="pupil could not configure") as refused:
        client.transition(["pupil"], "configure", PATIENCE_S)
    assert not refused.value.is_bug
    assert pupil.configured == 1
