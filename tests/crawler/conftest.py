"""What several tests of the crawler stand on."""

from __future__ import annotations

import logging
import os
import urllib.request
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import ray
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster

import crawler.cluster  # sets what Ray reads when it is imported  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a real S3 protocol server on loopback, with its address and credentials in place."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    own = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    with mock.patch.dict(os.environ, own):
        request = urllib.request.Request(f"{own['AWS_ENDPOINT_URL']}/posters", method="PUT")  # noqa: S310  loopback
        urllib.request.urlopen(request).close()  # noqa: S310
        yield "s3://posters"
    server.stop()


@pytest.fixture(scope="session")
def ray_cluster(bucket: str) -> Iterator[Cluster]:
    """One Ray for all tests that do not start their own; this process is connected to it."""
    cluster = _started(times=4)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _started(times: int) -> Cluster:
    """Start a head; on a machine that is busy with other work Ray does not always get ready in its thirty seconds."""
    try:
        return Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 4, "object_store_memory": 2**27, "include_dashboard": False},
        )
    except Exception as error:
        if times == 1 or "timed out during startup" not in str(error):
            raise
        return _started(times - 1)
