"""The same application behind Ray Serve answers from several replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from crawler.cluster import connected
from crawler.errors import UnusableInput
from serving.cluster import replicated
from serving.service import ServiceOptions
from tests.serving.posters import VOCABULARY, by_hand, poster
from tests.serving.server import call

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def test_replicas_answer_as_one_server_does(model: Path, run: Path) -> None:
    """Readiness, refusals and predictions are those of the application under uvicorn, from two replicas."""
    options = ServiceOptions(threads=1, token="word")  # noqa: S106
    with connected(2):
        with pytest.raises(UnusableInput, match=r"replicas 3 of 1 CPUs each: the cluster has 2; give fewer"):
            replicated(model, "127.0.0.1", 0, options, 3).__enter__()
        with replicated(model, "127.0.0.1", 0, options, 2) as address:
            port = int(address.rsplit(":", 1)[1].strip("/"))
            assert call(port, "/health/ready")[0] == 200
            assert call(port, "/v1/predict", poster(1), content_type="image/jpeg")[0] == 401
            headers = {"content_type": "image/jpeg", "authorization": "Bearer word"}
            assert call(port, "/v1/predict", b"no image", **headers)[0] == 422
            bodies = [poster(seed) for seed in range(12)]
            found = []
            for body in bodies:
                status, answer, _ = call(port, "/v1/predict?probabilities=true", body, **headers)
                assert status == 200, answer
                found.append([answer["predictions"][0]["probabilities"][label] for label in VOCABULARY])
    np.testing.assert_allclose(found, by_hand(run, bodies), atol=1e-4)
