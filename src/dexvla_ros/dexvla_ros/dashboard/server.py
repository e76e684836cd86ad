"""Serves the operator's page: pictures, state, and the two buttons."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import urlsplit

from dexvla_model.errors import UserError
from dexvla_ros.dashboard.state import DashboardState

# A page of another site cannot send this header, so it cannot press a button.
_HEADER = "X-DexVLA"
_BODY_MAX = 10_000


class DashboardServer:
    """A web server in threads of its own.

    Args:
        start: told an instruction; says what came of it, and whether it was taken.
        stop: says what it did, and whether everybody who was there has stopped.

    Raises:
        UserError: the address cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        state: DashboardState,
        start: Callable[[str], tuple[bool, str]],
        stop: Callable[[], tuple[bool, str]],
    ) -> None:
        page = files("dexvla_ros.dashboard").joinpath("page.html").read_bytes()

        class Handler(_Handler):
            pass

        Handler.page, Handler.state, Handler.start, Handler.stop = (
            page,
            state,
            staticmethod(start),
            staticmethod(stop),
        )
        try:
            self._server = _Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"The page cannot be served at {host}:{port} ({error}); name another host or port."
            ) from error
        self.address = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End; returns when no request is served any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class _Handler(BaseHTTPRequestHandler):
    page: bytes
    state: DashboardState
    start: Callable[[str], tuple[bool, str]]
    stop: Callable[[], tuple[bool, str]]
    # A client that says nothing more is left.
    timeout = 10.0

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.page)
        elif path == "/state":
            self._json(HTTPStatus.OK, self.state.snapshot())
        elif path.startswith("/camera/") and path.endswith(".jpg"):
            self._camera(path.removeprefix("/camera/").removesuffix(".jpg"))
        else:
            self._json(HTTPStatus.NOT_FOUND, {"message": f"there is no {path}"})

    def do_POST(self) -> None:
        if self.headers.get(_HEADER) is None:
            self._json(HTTPStatus.FORBIDDEN, {"message": f"the header {_HEADER} is missing"})
            return
        path = urlsplit(self.path).path
        if path == "/stop":
            done, message = self.stop()
        elif path == "/start":
            instruction = self._instruction()
            done, message = self.start(instruction) if instruction else (False, "The instruction is empty.")
        else:
            self._json(HTTPStatus.NOT_FOUND, {"message": f"there is no {path}"})
            return
        self._json(HTTPStatus.OK if done else HTTPStatus.CONFLICT, {"done": done, "message": message})

    def log_message(self, *arguments: object) -> None:
        """Requests come several times a second: they are not logged."""

    def _instruction(self) -> str:
        try:
            length = min(int(self.headers.get("Content-Length", 0)), _BODY_MAX)
            content = json.loads(self.rfile.read(length))
            return str(content["instruction"]).strip()
        except (ValueError, KeyError, TypeError):
            return ""

    def _camera(self, role: str) -> None:
        try:
            jpeg = self.state.jpeg(role)
        except Exception as error:  # whatever a camera sends: the page goes on
            self._json(HTTPStatus.UNPROCESSABLE_ENTITY, {"message": str(error)})
            return
        if jpeg is None:
            self._json(HTTPStatus.NOT_FOUND, {"message": f"no picture of {role} has come"})
        else:
            self._answer(HTTPStatus.OK, "image/jpeg", jpeg)

    def _json(self, status: HTTPStatus, content: dict) -> None:
        self._answer(status, "application/json", json.dumps(content).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass  # the browser has gone
