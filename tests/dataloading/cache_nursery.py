"""Fetch shards into one cache in child processes, two at a time, and kill each with SIGKILL.

``python cache_nursery.py URL CACHE LIMIT_BYTES KILLS SEED``: the children open the shards of URL in random order, and
end by themselves only if one has not the bytes of its name.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from crawler.bucket import BucketStore
from dataloading.cache import CacheOptions, ShardCache


def fetch(url: str, options: CacheOptions, seed: int) -> None:
    """Open shards until killed."""
    chance = random.Random(seed)
    while True:
        cache = ShardCache(BucketStore(url), options)
        for _ in range(5):
            name = f"shard-{chance.randrange(4)}"
            if cache.open(name).read(10_000_000, 7) != name.encode():
                os._exit(3)
        cache.close()


def main(url: str, options: CacheOptions, kills: int, seed: int) -> None:
    """Fork and kill."""
    chance = random.Random(seed)
    for number in range(0, kills, 2):
        children: list[int] = []
        for place in range(2):
            child = os.fork()
            if child == 0:
                fetch(url, options, number + place)
            children.append(child)
        for child in children:
            time.sleep(chance.random() * 0.3)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WTERMSIG(status) != signal.SIGKILL:
                sys.exit(f"the child ended with {status}")


if __name__ == "__main__":
    where = CacheOptions(folder=Path(sys.argv[2]), limit_bytes=int(sys.argv[3]))
    main(sys.argv[1], where, int(sys.argv[4]), int(sys.argv[5]))
