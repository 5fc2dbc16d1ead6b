"""img2dataset, in a virtual environment of its own: its dependencies and ours do not fit together.

``environment`` makes it once, with uv, under the user's cache. ``SCRIPT`` is what runs in it: one download of a list
of URLs, bytes kept as they come (``disable_all_reencoding``), WebDataset shards, sha256 on, two processes and many
threads, which is its best setting on two cores. Only the call is timed, not the import.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from crawler.errors import WorkFailed

VERSION: Final = "img2dataset"
SCRIPT: Final = """
import json, resource, sys, time
from img2dataset import download

if __name__ == "__main__":
    urls, out, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    started = time.perf_counter()
    download(
        url_list=urls, input_format="txt", output_folder=out, output_format="webdataset", resize_mode="no",
        disable_all_reencoding=True, processes_count=2, thread_count=threads, number_sample_per_shard=1000,
        compute_hash="sha256", enable_wandb=False, timeout=10, retries=0,
    )
    seconds = time.perf_counter() - started
    import glob, tarfile
    stored = sum(n.endswith(".jpg") for t in glob.glob(out + "/*.tar") for n in tarfile.open(t).getnames())
    sys.stderr.flush()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "images": stored}))
"""


def environment() -> Path:
    """Make the environment if there is none.

    Returns:
        Its python.

    Raises:
        WorkFailed: It cannot be installed, for example without a package index.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keyart" / "img2dataset"
    python = cache / "bin" / "python"
    if (cache / ".ready").exists():
        return python
    uv = Path(sys.executable).with_name("uv")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", "3.11", cache],
        [uv, "pip", "install", "--quiet", "--python", python, VERSION],
    ):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"img2dataset: cannot be installed ({done.stderr.strip().splitlines()[-1]}); give uv a package index"
            raise WorkFailed(msg)
    (cache / ".ready").touch()
    return python
