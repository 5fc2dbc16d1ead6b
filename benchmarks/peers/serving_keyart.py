"""``keyart serve``: uvicorn, one process, batches of up to 16."""

from __future__ import annotations

import sys
from pathlib import Path

from serving.host import serve
from serving.service import ServiceOptions

PACKAGES = ("uvicorn", "fastapi", "openvino")
PATH = "/v1/predict"
TYPE = "image/jpeg"


def main(model: Path, port: int, threads: int) -> None:
    """Serve until told to stop."""
    serve(model, "127.0.0.1", port, ServiceOptions(threads=threads))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
