"""The Open Inference Protocol over a service: prepared squares in, logits out.

Source:
    https://github.com/kserve/open-inference-protocol, REST specification 2, with the binary tensor extension.
"""

from __future__ import annotations

import asyncio
import json
import math
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from serving.engine import INPUT, LOGITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from serving.service import Service

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MOST_SQUARES: Final = 64
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "Not a request of the protocol."},
    404: {"description": "Another model than the one that is served."},
    413: {"description": "Too many bytes."},
    503: {"description": "The service starts or stops."},
}


def add_protocol(router: APIRouter, service_of: Callable[[Request], Service]) -> None:
    """Add the protocol's routes."""

    def model_of(request: Request, name: str) -> Service:
        service = service_of(request)
        if name not in {service.predictor.card.model_id, service.predictor.card.task}:
            raise _error(404, f"model {name}: expected {service.predictor.card.model_id}")
        return service

    @router.get("/v2")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "keyart", "version": metadata.version("keyart"), "extensions": ["binary_tensor_data"]}

    @router.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @router.get("/v2/health/ready", responses={503: _ERRORS[503]})
    async def ready(request: Request) -> dict[str, bool]:
        """Whether the model is loaded."""
        service_of(request)
        return {"ready": True}

    @router.get("/v2/models/{name}", responses=_ERRORS)
    async def describe(request: Request, name: str) -> dict[str, Any]:
        """What goes into the model and what comes out."""
        card = model_of(request, name).predictor.card
        return {
            "name": card.model_id,
            "versions": [card.digest[:12]],
            "platform": f"{card.engine}_{card.precision}",
            "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *card.input_shape]}],
            "outputs": [{"name": LOGITS, "datatype": "FP32", "shape": [-1, len(card.vocabulary)]}],
            "parameters": {"vocabulary": list(card.vocabulary), "preprocess": card.preprocess.to_dict()},
        }

    @router.get("/v2/models/{name}/ready", responses=_ERRORS)
    async def model_ready(request: Request, name: str) -> dict[str, Any]:
        """Whether this model is loaded."""
        return {"name": model_of(request, name).predictor.card.model_id, "ready": True}

    @router.post("/v2/models/{name}/infer", responses=_ERRORS)
    async def infer(request: Request, name: str) -> Response:
        """Compute logits of prepared squares, as JSON numbers or as bytes."""
        service = model_of(request, name)
        card = service.predictor.card
        body = await _body(request, service.options.limits.body_bytes)
        head, images = _read(body, request.headers.get(HEADER_LENGTH), card.input_shape)
        logits = await asyncio.to_thread(service.predictor.infer, images)
        return _write(head, card.model_id, logits)


async def _body(request: Request, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise _error(413, f"more than {most} bytes; send fewer squares at a time")
        pieces.append(piece)
    return b"".join(pieces)


def _read(body: bytes, header: str | None, one: tuple[int, int, int]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Read the request's JSON head and its one tensor, float32 [b, 3, h, w]."""
    length = len(body)
    if header is not None:
        if not header.isdecimal() or int(header) > len(body):
            raise _error(400, f"{HEADER_LENGTH} {header}: expected a number of bytes up to {len(body)}")
        length = int(header)
    try:
        head = json.loads(body[:length])
        (tensor,) = head["inputs"]
        shape = tuple(tensor["shape"])
        name, datatype = tensor["name"], tensor["datatype"]
        size = tensor.get("parameters", {}).get("binary_data_size")
        data = tensor.get("data")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _error(400, f"request: {type(error).__name__}; expected one input with name, shape, datatype") from error
    if (name, datatype) != (INPUT, "FP32"):
        raise _error(400, f"input {name} of {datatype}: expected {INPUT} of FP32")
    known = len(shape) == 4 and all(type(side) is int for side in shape) and shape[1:] == one  # noqa: PLR2004 - b c h w
    if not known or not 1 <= shape[0] <= MOST_SQUARES:
        raise _error(400, f"input shape {list(shape)}: expected [1 to {MOST_SQUARES}, {', '.join(map(str, one))}]")
    count = math.prod(shape)
    try:
        if size is not None:
            if size != count * 4 or len(body) - length != size:
                raise _error(400, f"input data: {len(body) - length} bytes, expected {count * 4}")
            images = np.frombuffer(body, "<f4", count, length).reshape(shape).astype(np.float32)
        else:
            images = np.array(data, np.float32).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(400, f"input data: expected {count} numbers for shape {list(shape)}") from error
    if not np.isfinite(images).all():
        raise _error(400, "input data: has numbers that are not finite")
    return head, images


def _write(head: dict[str, Any], model_id: str, logits: NDArray[np.float32]) -> Response:
    """Answer in JSON, or with the logits as bytes behind the head where the request asks for that."""
    output: dict[str, Any] = {"name": LOGITS, "datatype": "FP32", "shape": list(logits.shape)}
    answer = {"model_name": model_id, "outputs": [output]}
    if isinstance(head.get("id"), str):
        answer["id"] = head["id"]
    if not _wants_binary(head):
        output["data"] = logits.ravel().tolist()
        return JSONResponse(answer)
    body = logits.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(body)}
    written = json.dumps(answer).encode()
    return Response(written + body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(written))})


def _wants_binary(head: dict[str, Any]) -> bool:
    places = [head, *(output for output in _list(head.get("outputs")) if isinstance(output, dict))]
    parameters = [place["parameters"] for place in places if isinstance(place.get("parameters"), dict)]
    return any(entry.get("binary_data_output") is True or entry.get("binary_data") is True for entry in parameters)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _error(status: int, text: str) -> HTTPException:
    return HTTPException(status, {"error": text})
