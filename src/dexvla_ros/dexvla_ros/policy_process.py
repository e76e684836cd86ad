"""A node's side of a policy worker: start it, ask it, notice when it hangs or dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from dexvla_model.errors import UserError
from dexvla_ros.lifeline import Lifeline
from dexvla_ros.policy_protocol import Answer, Ready, Request, Unable, WorkerSetup

# Libraries behind a matrix product read their number of threads here, before they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL_S = 0.25


class PolicyProcessError(Exception):
    """The worker could not be started, died or hangs. The message is one sentence."""


class PolicyProcess:
    """One policy in a process of its own.

    Answers and the news of its death are handed to `deliver` as callables without arguments, from a thread; a
    node passes its executor's `create_task`, so that they run where its callbacks run.

    Args:
        request_timeout_s: a request that takes longer means a worker that hangs: it is killed. In real time,
            since a process hangs whatever the node clock shows.
        on_death: called once with the reason if the worker ends without being told to.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        request_timeout_s: float,
        on_death: Callable[[str], None],
        deliver: Callable[[Callable[[], None]], object] = lambda callback: callback(),
    ) -> None:
        self._setup = setup
        self._request_timeout_s = request_timeout_s
        self._on_death = on_death
        self._deliver = deliver
        self._pending: dict[int, tuple[float, Callable[[Answer], None]]] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._hangs = False
        self._dead = False
        self._count = 0
        self.ready: Ready | None = None

    def start(self, timeout_s: float, cancelled: Callable[[], bool] = lambda: False) -> Ready:
        """Start the process and wait until the policy is loaded.

        Raises:
            UserError: the policy cannot be loaded for a reason that the user can mend.
            PolicyProcessError: it failed otherwise, took longer than `timeout_s`, or `cancelled` became true.
        """
        self._connection, theirs = Pipe()
        lifeline = Lifeline()
        threads = {variable: str(self._setup.threads) for variable in _THREAD_VARIABLES}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dexvla_ros.policy_worker", str(theirs.fileno())],
            env={**os.environ, **threads, **lifeline.environment},
            pass_fds=(theirs.fileno(), lifeline.child_fd),
            stdin=subprocess.DEVNULL,
            # Ctrl-C in a terminal interrupts the whole session; when the worker ends is its node's decision.
            start_new_session=True,
        )
        theirs.close()
        lifeline.release_child_end()
        self._lifeline = lifeline
        try:
            self._connection.send(self._setup)
            self.ready = self._wait_until_loaded(timeout_s, cancelled)
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._receive, name="policy process", daemon=True).start()
        return self.ready

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self.ready is not None and not self._dead and not self._stopping

    def request(self, method: str, *arguments: object, on_answer: Callable[[Answer], None]) -> None:
        """Call `method` of the policy; `on_answer` gets the answer. Nothing happens if the worker is dead."""
        with self._lock:
            self._count += 1
            number = self._count
            self._pending[number] = (time.monotonic() + self._request_timeout_s, on_answer)
        try:
            self._connection.send(Request(number, method, arguments))
        except (ConnectionError, OSError):
            pass  # the receiving thread reports the death

    def stop(self) -> None:
        """End the process, by force if need be. Answers that are still under way are dropped."""
        self._stopping = True
        self._lifeline.cut()
        for force in (None, signal.SIGTERM, signal.SIGKILL):
            if force is not None:
                self._process.send_signal(force)
            try:
                self._process.wait(timeout=1.0)
                break
            except subprocess.TimeoutExpired:
                continue
        with self._lock:
            self._pending.clear()

    def _wait_until_loaded(self, timeout_s: float, cancelled: Callable[[], bool]) -> Ready:
        deadline_s = time.monotonic() + timeout_s
        while not self._connection.poll(_POLL_S):
            if cancelled():
                raise PolicyProcessError("the start of the policy worker was interrupted")
            if time.monotonic() > deadline_s:
                raise PolicyProcessError(
                    f"the policy {self._setup.policy} was not loaded within {timeout_s:g} s"
                )
        try:
            answer: Ready | Unable = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise PolicyProcessError(
                f"the policy worker {self._ending()} while it loaded the policy"
            ) from error
        if isinstance(answer, Ready):
            return answer
        if answer.is_user_error:
            raise UserError(answer.message)
        raise PolicyProcessError(f"the policy {self._setup.policy} could not be loaded: {answer.message}")

    def _receive(self) -> None:
        connection: Connection = self._connection
        while not self._stopping:
            try:
                if connection.poll(_POLL_S):
                    self._take(connection.recv())
                elif self._is_overdue():
                    self._hangs = True
                    self._process.kill()
            except (EOFError, ConnectionError):
                break
        if self._stopping:
            return
        self._dead = True
        with self._lock:
            self._pending.clear()
        reason = f"the policy worker {self._ending()}"
        if self._hangs:
            reason = f"the policy worker gave no answer within {self._request_timeout_s:g} s and was killed"
        self._deliver(lambda: self._on_death(reason))

    def _take(self, answer: Answer) -> None:
        with self._lock:
            entry = self._pending.pop(answer.number, None)
        if entry is not None and not self._stopping:
            self._deliver(lambda: entry[1](answer))

    def _is_overdue(self) -> bool:
        with self._lock:
            return any(deadline_s < time.monotonic() for deadline_s, _ in self._pending.values())

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code < 0:
            return f"died by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"
