"""The operator's page, as a browser uses it: alone first, then over DDS with a simulated robot."""

import json
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState

import dexvla_ros.dashboard
from dexvla_model.errors import UserError
from dexvla_msgs.action import ExecuteTask
from dexvla_ros.bringup import GraphOptions, dashboard_process, simulated_graph
from dexvla_ros.dashboard.server import DashboardServer
from dexvla_ros.dashboard.state import DashboardState
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

PATIENCE_S = 120.0
PAGE = Path(dexvla_ros.dashboard.__file__).with_name("page.html").read_text()


def get(address, path):
    with urllib.request.urlopen(address + path, timeout=PATIENCE_S) as answer:
        return answer.read()


def post(address, path, content=None, header=True):
    """Status and answer of a button."""
    request = urllib.request.Request(address + path, json.dumps(content or {}).encode(), method="POST")
    if header:
        request.add_header("X-DexVLA", "1")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def state(robot, clock):
    return DashboardState(robot, clock)


@pytest.fixture
def server(state):
    told = []

    def start(instruction):
        told.append(instruction)
        return True, "Started."

    server = DashboardServer("127.0.0.1", 0, state, start, lambda: (False, "NOT CONFIRMED"))
    yield server.address, told
    server.close()


def test_the_page_needs_nothing_from_elsewhere():
    assert not re.findall(r"https?://|//cdn|@import|<link|<script[^>]+src", PAGE)
    assert 'id="stop"' in PAGE and re.search(r"#stop \{[^}]*font-size: 28px", PAGE)


def test_the_page_and_the_state_are_served(server, state):
    address, _ = server
    assert get(address, "/").decode() == PAGE
    shown = json.loads(get(address, "/state"))
    assert shown["robot"] == "ur5e" and shown["task"]["history"] == []
    assert [joint["name"] for joint in shown["joints"]][0] == "shoulder_pan_joint"
    assert shown["joints"][0]["position"] is None and shown["cameras"][0]["age_s"] is None


def test_buttons_need_the_header_that_other_sites_cannot_send(server):
    address, told = server
    assert post(address, "/start", {"instruction": "go"}, header=False)[0] == 403
    assert post(address, "/stop", header=False)[0] == 403
    assert told == []


@pytest.mark.parametrize("content", [{}, {"instruction": "  "}, []])
def test_an_empty_instruction_is_not_passed_on(server, content):
    address, told = server
    status, answer = post(address, "/start", content)
    assert status == 409 and answer["message"] == "The instruction is empty." and told == []


def test_an_instruction_is_passed_on_and_what_fails_is_shown(server):
    address, told = server
    assert post(address, "/start", {"instruction": " put it down "})[0] == 200
    assert told == ["put it down"]
    assert post(address, "/stop") == (409, {"done": False, "message": "NOT CONFIRMED"})


def test_pictures_are_encoded_once_and_only_when_looked_at(server, state, clock):
    address, _ = server
    encoded = []

    def encode():
        encoded.append(1)
        return b"jpeg"

    state.image("scene", encode)
    assert encoded == []
    assert get(address, "/camera/scene.jpg") == get(address, "/camera/scene.jpg") == b"jpeg"
    assert len(encoded) == 1
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(address, "/camera/wrist.jpg")
    clock.now_s += 1.0
    state.image("scene", lambda: 1 / 0)
    with pytest.raises(urllib.error.HTTPError, match="422"):
        get(address, "/camera/scene.jpg")


def test_rates_history_and_silence(state, clock):
    for _ in range(30):
        clock.now_s += 0.1
        state.arrived("cameras/scene/image_raw")
    state.sub_step("go", "reach", 1)
    state.sub_step("go", "reach", 1)
    state.sub_step("go", "grasp", 1)
    state.diagnostic("action_node", 1, "holding: nothing comes", {"state": "holding"})
    clock.now_s += 2.0
    shown = state.snapshot()
    assert shown["rates"][0]["wanted_hz"] == 10.0 and 2.0 < shown["rates"][0]["hz"] < 5.0
    assert [entry["text"] for entry in shown["task"]["history"]] == ["reach", "grasp"]
    assert shown["task"]["sub_step"] == "grasp"
    assert shown["hold"] == {"state": "holding", "reason": "holding: nothing comes"}
    assert shown["diagnostics"][0]["age_s"] == 2.0
    state.task(None, False, "done.")
    assert state.snapshot()["task"]["sub_step"] == ""


def test_an_address_that_cannot_be_had_is_a_mistake_of_the_user_s(state, server):
    port = int(server[0].rpartition(":")[2])
    with pytest.raises(UserError, match=f"cannot be served at 256.0.0.1:{port}"):
        DashboardServer("256.0.0.1", port, state, None, None)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The whole simulated graph with the page; its client and the page's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = (*simulated_graph(GraphOptions("ur5e", "scripted")), dashboard_process("ur5e", True, port=port))
    with own_domain(), Supervisor(nodes, tmp_path_factory.mktemp("logs"), use_sim_time=True) as supervisor:
        supervisor.bring_up()
        yield supervisor, f"http://127.0.0.1:{port}"


@pytest.mark.ros
def test_an_operator_looks_starts_stops_and_starts_again(graph, robot):
    supervisor, address = graph
    client = supervisor.client
    speed = []
    client.node.create_subscription(
        JointState,
        "joint_states",
        lambda message: speed.append(float(np.abs(message.velocity).max())),
        SENSOR,
    )

    def shown():
        return json.loads(get(address, "/state"))

    def wait_until(condition):
        client.wait_until(condition, PATIENCE_S, "the test goes on")

    wait_until(lambda: all(joint["position"] is not None for joint in shown()["joints"]))
    wait_until(lambda: all(camera["age_s"] is not None for camera in shown()["cameras"]))
    wait_until(lambda: {"action_node", "vlm_node"} <= {entry["name"] for entry in shown()["diagnostics"]})
    picture = cv2.imdecode(np.frombuffer(get(address, "/camera/scene.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (240, 320, 3) and picture.std() > 5.0

    for _ in range(2):
        status, answer = post(address, "/start", {"instruction": "put the red cube in the tray"})
        assert status == 200, answer
        wait_until(lambda: shown()["task"]["sub_step"] and speed[-1] > 0.05)
        status, answer = post(address, "/stop")
        assert (status, answer["message"]) == (200, "Stopped: the robot brakes and holds.")
        wait_until(lambda: speed[-1] < 0.01 and not shown()["task"]["running"])
        assert shown()["task"]["outcome"].startswith("stopped")

    # A goal that somebody else has sent, while the page's own pause is over.
    goals = ActionClient(client.node, ExecuteTask, "execute_task")
    wait_until(goals.server_is_ready)
    assert post(address, "/start", {"instruction": "put the red cube in the tray"})[0] == 200
    sent = goals.send_goal_async(ExecuteTask.Goal(instruction="put the blue cube in the tray"))
    handle = client.wait_for(sent, PATIENCE_S, "the goal is answered")
    wait_until(lambda: shown()["task"]["instruction"] == "put the blue cube in the tray")
    assert post(address, "/stop")[0] == 200
    result = client.wait_for(handle.get_result_async(), PATIENCE_S, "the goal ends").result
    assert result.outcome == ExecuteTask.Result.CANCELED
    wait_until(lambda: speed[-1] < 0.01)
