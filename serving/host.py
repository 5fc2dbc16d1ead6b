"""The application under uvicorn on this machine, until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from crawler.errors import UnusableInput
from serving.app import create_app
from serving.engine import load_card

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from serving.service import ServiceOptions

DRAIN_S: Final = 30
"""How long requests that have begun may go on after the signal to stop."""
IDLE_S: Final = 15
"""After which a connection without a request is closed."""
CONNECTIONS: Final = 1024
"""Beyond these a connection is answered 503 at once."""


def serve(model: Path, host: str, port: int, options: ServiceOptions) -> None:
    """Serve a model until SIGTERM or SIGINT; requests that have begun are answered first.

    Args:
        model: Folder written by ``keyart export``.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        options: How it is served.

    Raises:
        UnusableInput: The folder holds no model, or the address cannot be listened on.
    """
    card = load_card(model)
    if options.also is not None:
        load_card(options.also)
    with _listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}/"
        sys.stderr.write(f"{card.model_id} at {address} (page), {address}v1/predict, {address}openapi.json\n")
        config = uvicorn.Config(
            create_app(model, options),
            log_level="warning",
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=DRAIN_S,
            limit_concurrency=CONNECTIONS,
            server_header=False,
        )
        _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends well when it is told to end: uvicorn itself drains, and then dies of the signal all the same."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Begin to drain on the first signal, and stop at once on the second."""
        stops = (signal.SIGTERM, signal.SIGINT)
        before = {stop: signal.signal(stop, self.handle_exit) for stop in stops}
        try:
            yield
        finally:
            for stop, former in before.items():
                signal.signal(stop, former)


def free_port(host: str) -> int:
    """Find a port that nothing listens on.

    Raises:
        UnusableInput: The address is none of this machine.
    """
    with _listening(host, 0) as listener:
        return listener.getsockname()[1]


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        msg = f"address {host}:{port}: cannot be listened on ({error}); give another --host or --port"
        raise UnusableInput(msg) from error
    return listener
