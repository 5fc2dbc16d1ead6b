"""A server that tests can start: the application under a real uvicorn in a thread."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import uvicorn

from serving.app import create_app
from serving.service import Limits, ServiceOptions

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = ServiceOptions(limits=Limits(body_bytes=400_000, pixels=1_000_000, parts=4, body_s=1.0), threads=2)
"""Small limits."""


class Server:
    """The application under a real uvicorn in a thread."""

    def __init__(self, model: Path, options: ServiceOptions) -> None:
        self._server = uvicorn.Server(uvicorn.Config(create_app(model, options), port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> int:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self._server.servers[0].sockets[0].getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def call(
    port: int, path: str, body: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """One request; answers with the status, the body (JSON where it is that) and the headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, names)
        response = connection.getresponse()
        found, raw = dict(response.getheaders()), response.read()
        return response.status, json.loads(raw) if "json" in found.get("content-type", "") else raw, found
