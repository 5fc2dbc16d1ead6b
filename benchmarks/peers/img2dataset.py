"""img2dataset at its best on two cores: two processes, many threads, WebDataset shards, sha256 on.

Runs in an environment of its own: ``python -m benchmarks.peers.img2dataset URLS FOLDER THREADS MODE`` prints how many
posters it stored, and when it had. ``bytes`` keeps them as they come, unread (``disable_all_reencoding``), its fastest;
``resize`` decodes them and encodes them again at 256 pixels, the only way to have it look at them.
"""

from __future__ import annotations

import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("img2dataset",)
MODES: Final[dict[str, dict[str, Any]]] = {
    "bytes": {"resize_mode": "no", "disable_all_reencoding": True},
    "resize": {"resize_mode": "keep_ratio", "image_size": 256, "resize_only_if_bigger": False},
}


def fetch_all(urls: str, folder: str, threads: int, mode: str) -> tuple[int, float]:
    """Fetch a file of URLs, one a line; return how many are stored, and when they were, by the system's clock."""
    from img2dataset import download  # noqa: PLC0415 - its processes import this module again

    download(
        url_list=urls,
        input_format="txt",
        output_folder=folder,
        output_format="webdataset",
        processes_count=2,
        thread_count=threads,
        number_sample_per_shard=1000,
        compute_hash="sha256",
        enable_wandb=False,
        timeout=10,
        retries=0,
        **MODES[mode],
    )
    end_s = time.monotonic()
    tars = sorted(Path(folder).glob("*.tar"))
    return sum(name.endswith(".jpg") for tar in tars for name in tarfile.open(tar).getnames()), end_s


if __name__ == "__main__":
    _stored, _end_s = fetch_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    sys.stdout.write(f"\n{_stored} {_end_s}\n")
