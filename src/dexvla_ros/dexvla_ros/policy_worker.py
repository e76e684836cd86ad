"""The process in which a policy infers: `python -m dexvla_ros.policy_worker`, started by `PolicyProcess`.

Inference inside a node would keep its timers waiting by tens of milliseconds, whatever the executor. The
worker reads requests from a pipe one by one and answers each; it ends with its parent.
"""

import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from dexvla_model.errors import UserError
from dexvla_ros.lifeline import shut_down_with_parent
from dexvla_ros.policy_protocol import Answer, Ready, Request, Unable, WorkerSetup


def main() -> None:
    """Serve the pipe whose descriptor is the first argument until it closes."""
    shut_down_with_parent(on_loss=lambda: os._exit(1))
    connection = Connection(int(sys.argv[1]))
    try:
        _serve(connection)
    except (EOFError, ConnectionError):
        pass


def _serve(connection: Connection) -> None:
    setup: WorkerSetup = connection.recv()
    try:
        policy = _load(setup)
    except UserError as error:
        connection.send(Unable(str(error), True))
        return
    except Exception as error:
        traceback.print_exc()
        connection.send(Unable(_one_line(error), False))
        return
    connection.send(Ready(policy.name))
    while True:
        request: Request = connection.recv()
        start_s = time.perf_counter()
        value, error_text = None, ""
        try:
            value = getattr(policy, request.method)(*request.arguments)
        except Exception as error:
            traceback.print_exc()
            error_text = _one_line(error)
        connection.send(Answer(request.number, value, error_text, time.perf_counter() - start_s))


def _load(setup: WorkerSetup) -> Any:
    from dexvla_model.robot import load_robot
    from dexvla_sim.policies import load_any_policy

    robot = load_robot(setup.robot)
    policy = load_any_policy(setup.policy, robot, setup.device, setup.dtype, setup.compile_network)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(setup.threads)
    # Part of loading, which may take long: an inference that does counts as hanging.
    policy.get_ready(setup.method)
    return policy


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


if __name__ == "__main__":
    main()
