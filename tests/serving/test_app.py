"""The server answers posters with what the checkpoint says, and everything else with a status and a reason."""

from __future__ import annotations

import io
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.batcher import BatcherOptions
from serving.engine import load_card
from serving.service import ServiceOptions
from tests.serving.posters import VOCABULARY, by_hand, checkpoint_logits, poster
from tests.serving.server import Server, call

KEYART = Path(sys.executable).with_name("keyart")


def multipart(*bodies: bytes) -> tuple[bytes, str]:
    """A form with one file part per body, and its content type."""
    head = b'--line\r\nContent-Disposition: form-data; name="poster"; filename="%d.jpg"\r\n\r\n'
    parts = b"".join(head % index + body + b"\r\n" for index, body in enumerate(bodies))
    return parts + b"--line--\r\n", "multipart/form-data; boundary=line"


def test_one_poster_is_answered_with_the_checkpoints_probabilities(port: int, run: Path) -> None:
    """The body is the poster; labels come with their probabilities, the likeliest first."""
    status, answer, _ = call(port, "/v1/predict?probabilities=true", poster(3), content_type="image/jpeg")
    assert status == 200
    (prediction,) = answer["predictions"]
    expected = by_hand(run, [poster(3)])[0]
    np.testing.assert_allclose([prediction["probabilities"][label] for label in VOCABULARY], expected, atol=1e-4)
    assert prediction["label"] == VOCABULARY[int(expected.argmax())]
    assert [top["probability"] for top in prediction["top"]] == sorted(
        prediction["probabilities"].values(), reverse=True
    )


def test_bad_poster_is_its_own_matter(port: int, run: Path) -> None:
    """Of several posters each has its own outcome; one alone that is bad is a 422 with the reason."""
    body, kind = multipart(poster(1), b"no image", poster(2)[:700], poster(2))
    status, answer, _ = call(port, "/v1/predict", body, content_type=kind)
    assert status == 200
    rows = answer["predictions"]
    assert [row.get("reason") for row in rows] == [None, "not_an_image", "corrupt", None]
    expected = by_hand(run, [poster(1), poster(2)]).max(axis=1)
    np.testing.assert_allclose([rows[0]["probability"], rows[3]["probability"]], expected, atol=1e-4)
    status, answer, _ = call(port, "/v1/predict", b"no image", content_type="image/png")
    assert (status, answer["detail"]["reason"]) == (422, "not_an_image")


def test_explanation_is_the_prepared_square_and_a_heat_map(port: int) -> None:
    """The square has the size of the network's input, and the map runs from 0 to 1."""
    _, answer, _ = call(port, "/v1/predict?explain=true", poster(5), content_type="image/jpeg")
    (prediction,) = answer["predictions"]
    assert prediction["square"].startswith("data:image/png;base64,")
    heat = np.array(prediction["heat_map"])
    assert (heat.min(), heat.max()) == (0, 1)


def bomb(side: int) -> bytes:
    """A PNG of few bytes that claims to be side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (bomb(50_000), "image/png", 422, "too_large"),
        (bomb(1_500), "image/png", 422, "too_large"),
        (b"x" * 400_001, "image/jpeg", 413, "too_large"),
        (b"{}", "application/json", 415, "unsupported_type"),
        (b"", "image/jpeg", 422, "not_an_image"),
        (*multipart(*[b"x"] * 5), 413, "bad_multipart"),
        (*multipart(), 422, "no_poster"),
        (b"x", "multipart/form-data", 422, "bad_multipart"),
    ],
)
def test_limits_are_kept(port: int, body: bytes, kind: str, status: int, reason: str) -> None:
    """Bytes, pixels, parts and types beyond the limits have their status and reason."""
    found, answer, _ = call(port, "/v1/predict", body, content_type=kind)
    assert (found, answer["detail"]["reason"]) == (status, reason)


def test_slow_body_is_given_up(port: int) -> None:
    """A client that sends half a poster and sleeps is answered 408."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 99\r\n\r\nhalf"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_full_queue_is_429_with_retry_after(model: Path) -> None:
    """More posters at once than the queue holds are refused, and told when to come back."""
    with Server(model, ServiceOptions(batcher=BatcherOptions(queue=1))) as port:
        body, kind = multipart(poster(1), poster(2))
        status, answer, headers = call(port, "/v1/predict", body, content_type=kind)
    assert (status, answer["detail"]["reason"], headers["retry-after"]) == (429, "queue_full", "1")


def test_token_is_asked_for_where_there_is_one(model: Path) -> None:
    """Predictions and metrics need it; health and the page do not."""
    word = "open sesame"
    with Server(model, ServiceOptions(token=word)) as port:
        assert call(port, "/v1/predict", poster(1), content_type="image/jpeg")[0] == 401
        assert call(port, "/metrics")[0] == 401
        assert call(port, "/v1/predict", poster(1), content_type="image/jpeg", authorization="Bearer no")[0] == 401
        good = {"content_type": "image/jpeg", "authorization": f"Bearer {word}"}
        assert call(port, "/v1/predict", poster(1), **good)[0] == 200
        assert [call(port, path)[0] for path in ("/health/live", "/health/ready", "/")] == [200, 200, 200]


def test_metrics_count_batches_and_outcomes(port: int) -> None:
    """What happened can be read off in Prometheus's format."""
    call(port, "/v1/predict", poster(1), content_type="image/jpeg")
    call(port, "/v1/predict", b"no image", content_type="image/jpeg")
    _, text, headers = call(port, "/metrics")
    assert headers["content-type"].startswith("text/plain")
    for name in ('posters_total{outcome="ok"}', 'posters_total{outcome="not_an_image"}', "batch_posters_count"):
        assert f"keyart_{name}".encode() in text


def test_protocol_computes_logits_from_json_and_from_bytes(port: int, run: Path, model: Path) -> None:
    """The Open Inference Protocol's two ways of sending a tensor give the network's logits."""
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32)
    expected = checkpoint_logits(run, images)
    name = load_card(model).model_id
    tensor: dict[str, Any] = {"name": "images", "datatype": "FP32", "shape": [1, 3, 64, 64]}
    body = json.dumps({"id": "7", "inputs": [{**tensor, "data": images[:1].ravel().tolist()}]}).encode()
    status, answer, _ = call(port, f"/v2/models/{name}/infer", body[:400_000])
    assert status == 200
    assert answer["id"] == "7"
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected[0], atol=1e-3)
    tensor |= {"shape": [2, 3, 64, 64], "parameters": {"binary_data_size": images.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    status, raw, headers = call(port, f"/v2/models/{name}/infer", head + images.tobytes(), **length)
    assert status == 200
    begin = int({key.lower(): value for key, value in headers.items()}["inference-header-content-length"])
    np.testing.assert_allclose(np.frombuffer(raw[begin:], "<f4").reshape(2, -1), expected, atol=1e-3)
    assert json.loads(raw[:begin])["outputs"][0]["shape"] == [2, 3]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"inputs": []}',
        b'{"inputs": [{"name": "images", "datatype": "FP32", "shape": [0, 3, 64, 64], "data": []}]}',
        b'{"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 64, 64], "data": [1]}]}',
        b'{"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 64, 64], "data": {"a": 1}}]}',
        b'{"inputs": [{"name": "images", "datatype": "INT64", "shape": [1, 3, 64, 64], "data": [1]}]}',
        b'{"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 64, 64], "parameters": 3}]}',
    ],
)
def test_request_that_is_not_of_the_protocol_is_400(port: int, body: bytes) -> None:
    """It is answered with an error text, as the protocol wants."""
    status, answer, _ = call(port, "/v2/models/genre/infer", body, method="POST")
    assert status == 400
    assert answer["detail"]["error"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_makes_a_500(port: int, data: st.DataObject) -> None:
    """Whatever is sent to a route of the OpenAPI schema, the answer is one that the schema lists."""
    _, schema, _ = call(port, "/openapi.json")
    path, operations = data.draw(st.sampled_from(sorted(schema["paths"].items())))
    method, operation = data.draw(st.sampled_from(sorted(operations.items())))
    text = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=8)
    query = data.draw(st.dictionaries(st.sampled_from(["top_k", "probabilities", "explain"]), text, max_size=3))
    kinds = ["image/jpeg", "application/json", "multipart/form-data; boundary=line", "multipart/form-data", ""]
    kind = data.draw(st.sampled_from(kinds))
    fragments = st.sampled_from([multipart(poster(1))[0], b'{"inputs": [', poster(1), poster(1)[:300], b"\x89PNG"])
    body = data.draw(st.binary(max_size=300) | fragments)
    address = path.replace("{name}", "genre") + "?" + "&".join(f"{key}={value}" for key, value in query.items())
    headers = {"content_type": kind, "Inference_Header_Content_Length": data.draw(text)}
    status, _, _ = call(port, address, body if method == "post" else None, method.upper(), **headers)
    assert str(status) in operation["responses"] or status == 200
    assert status != 500


def test_concurrent_posters_share_batches(model: Path, run: Path) -> None:
    """Many clients at once all get their own answer, from fewer batches than posters."""
    bodies = [poster(seed) for seed in range(24)]
    options = ServiceOptions(batcher=BatcherOptions(largest=8, wait_s=0.2, runners=1))
    found: dict[int, float] = {}
    with Server(model, options) as port:

        def one(index: int) -> None:
            _, answer, _ = call(port, "/v1/predict", bodies[index], content_type="image/jpeg")
            found[index] = answer["predictions"][0]["probability"]

        threads = [threading.Thread(target=one, args=(index,)) for index in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _, text, _ = call(port, "/metrics")
    expected = by_hand(run, bodies).max(axis=1)
    np.testing.assert_allclose([found[index] for index in range(24)], expected, atol=1e-4)
    batches = next(line for line in text.decode().splitlines() if line.startswith("keyart_batch_posters_count"))
    assert float(batches.split()[1]) < 24


def test_command_serves_and_drains_on_sigterm(model: Path) -> None:
    """`keyart serve` says where it is, answers, finishes a request that has begun, and exits with 0."""
    words = [KEYART, "serve", model, "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        talk_and_stop(process)


def talk_and_stop(process: subprocess.Popen[str]) -> None:
    """Begin a request, ask the server to stop, send the rest, and read the answer."""
    assert process.stderr
    port = int(process.stderr.readline().split("http://127.0.0.1:")[1].split("/")[0])
    for _ in range(600):
        try:
            assert call(port, "/health/ready")[0] == 200
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    body = poster(1)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body[:100])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(body[100:])
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert process.wait(timeout=30) == 0, process.stderr.read()


def test_png_poster_is_answered_too(port: int) -> None:
    """A lossless poster takes the reference's way and is a poster like any other."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(poster(4))).save(stream, "PNG")
    status, answer, _ = call(port, "/v1/predict", stream.getvalue(), content_type="image/png")
    assert (status, answer["predictions"][0]["status"]) == (200, "ok")
