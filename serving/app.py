"""HTTP requests -> answers: one ASGI application, the same under uvicorn and on a cluster."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import asynccontextmanager
from importlib import metadata, resources
from typing import TYPE_CHECKING, Annotated, Any, Final

import prometheus_client as prometheus
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteException

from crawler.records import Reason
from serving.batcher import Refusal
from serving.live import LivePredictor, PairPredictor, Question, to_plain
from serving.protocol import add_protocol
from serving.service import Limits, Metrics, Service, ServiceOptions, refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from starlette.types import Message, Receive

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
RAW_TYPES: Final = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")


def create_app(model: Path, options: ServiceOptions | None = None) -> FastAPI:
    """Make the application for one model; the model is loaded and warmed up when the application starts.

    Args:
        model: Folder written by ``keyart export``.
        options: How it is served.
    """
    options = options or ServiceOptions()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        predictor = await asyncio.to_thread(_load, model, options, metrics)
        app.state.service = Service(predictor, metrics, options)
        yield
        service: Service = app.state.service
        app.state.service = None
        await service.batcher.close()

    app = FastAPI(
        title="keyart",
        version=metadata.version("keyart"),
        description="Genres of movie posters.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere; /openapi.json is here
        redoc_url=None,
    )
    app.state.service = None
    _add_open_routes(app, metrics, options)
    guarded = APIRouter(dependencies=[Depends(_guard(options.token))])
    _add_predict(guarded)
    add_protocol(guarded, _service_of)
    app.include_router(guarded)
    return app


def _load(model: Path, options: ServiceOptions, metrics: Metrics) -> LivePredictor | PairPredictor:
    """Load and warm up what is served."""

    def one(folder: Path, observe: Callable[[str, float], None]) -> LivePredictor:
        return LivePredictor(folder, threads=options.threads, pixels=options.limits.pixels, observe=observe)

    first = one(model, metrics.observe_stage)
    if options.also is None:
        return first
    return PairPredictor(
        first, one(options.also, lambda stage, seconds: metrics.observe_stage(f"also_{stage}", seconds))
    )


def _add_open_routes(app: FastAPI, metrics: Metrics, options: ServiceOptions) -> None:
    page = resources.files("serving").joinpath("page.html").read_text()

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(
            page, headers={"Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff"}
        )

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "live"}

    @app.get("/health/ready", responses={503: {"description": "The model is not loaded, or the service stops."}})
    async def ready(request: Request) -> JSONResponse:
        """Whether the model is loaded and warm."""
        up = request.app.state.service is not None
        return JSONResponse({"status": "ready" if up else "not_ready"}, 200 if up else 503)

    @app.get("/metrics", dependencies=[Depends(_guard(options.token))], include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(prometheus.generate_latest(metrics.registry), media_type=prometheus.CONTENT_TYPE_LATEST)


def _add_predict(router: APIRouter) -> None:
    image = {"schema": {"type": "string", "format": "binary"}}
    parts = {"schema": {"type": "object", "properties": {"poster": {"type": "array", "items": image["schema"]}}}}
    extra = {
        "requestBody": {
            "required": True,
            "content": {**dict.fromkeys(RAW_TYPES, image), "multipart/form-data": parts},
        }
    }

    @router.post("/v1/predict", openapi_extra=extra, responses=_ERRORS)
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, le=1000, description="Labels a poster, the likeliest first.")] = 3,
        *,
        probabilities: Annotated[bool, Query(description="All labels' probabilities.")] = False,
        explain: Annotated[bool, Query(description="The prepared square and the heat map.")] = False,
    ) -> JSONResponse:
        """Score one poster (the body) or several (multipart)."""
        service = _service_of(request)
        limits = service.options.limits
        many = request.headers.get("content-type", "").startswith("multipart/form-data")
        named = await _read(request, limits, many=many)
        questions = [Question(body=body, explains=explain) for _, body in named]
        replies = await service.answer(request, questions)
        card = service.predictor.card
        also = service.predictor.also_card if isinstance(service.predictor, PairPredictor) else None
        plain = [to_plain(reply, card, also, top_k=top_k, probabilities=probabilities) for reply in replies]
        if not many and replies[0].reason:
            raise HTTPException(422, {"reason": replies[0].reason, "detail": _ADVICE[replies[0].reason]})
        rows = [{"name": name, **row} for (name, _), row in zip(named, plain, strict=True)]
        return JSONResponse({"model_id": card.model_id, "predictions": rows})


_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "The bearer token is missing or wrong."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "Too many bytes or too many parts."},
    415: {"description": "Neither an image nor multipart."},
    422: {"description": "Not a poster that can be scored, with the reason."},
    429: {"description": "The queue is full; try again after Retry-After seconds."},
    503: {"description": "The service starts or stops."},
    504: {"description": "The deadline passed."},
}
_ADVICE: Final = {
    Reason.NOT_AN_IMAGE: "expected a JPEG, PNG or WebP image",
    Reason.CORRUPT: "the image is damaged; send it again whole",
    Reason.TOO_LARGE: "the image has more pixels than the limit; send a smaller one",
}


async def _read(request: Request, limits: Limits, *, many: bool) -> list[tuple[str | None, bytes]]:
    """Read the posters of a request, within the limits of bytes, parts and time."""
    kind = request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    if not many and kind not in RAW_TYPES:
        expected = f"expected {', '.join(RAW_TYPES)} or multipart/form-data"
        raise HTTPException(415, {"reason": "unsupported_type", "detail": f"content type {kind}: {expected}"})
    limited = Request(request.scope, _limited(request.receive, limits.body_bytes))
    try:
        async with asyncio.timeout(limits.body_s):
            if not many:
                return [(None, await limited.body())]
            async with limited.form(max_files=limits.parts, max_fields=limits.parts) as form:
                files = [part for _, part in form.multi_items() if not isinstance(part, str)]
                named = [(part.filename, await part.read()) for part in files]
    except TimeoutError as error:
        late = {"reason": "slow_body", "detail": f"the body took longer than {limits.body_s} s"}
        raise HTTPException(408, late) from error
    except HTTPException:  # our own limit
        raise
    except StarletteException as error:  # what the parser of forms found
        status = 413 if "Too many" in error.detail else 422
        raise HTTPException(status, {"reason": "bad_multipart", "detail": error.detail}) from error
    if not named:
        raise HTTPException(422, {"reason": "no_poster", "detail": "expected at least one file part"})
    return named


def _limited(receive: Receive, most: int) -> Receive:
    """Count what arrives, and stop at the limit whatever the headers promised."""
    arrived = 0

    async def counting() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > most:
            raise HTTPException(413, {"reason": "too_large", "detail": f"more than {most} bytes; send less at a time"})
        return message

    return counting


def _service_of(request: Request) -> Service:
    service: Service | None = request.app.state.service
    if service is None:
        raise refused(Refusal.STOPPING)
    return service


def _guard(token: str | None) -> Any:
    async def check(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            wrong = {"reason": "unauthorised", "detail": "expected the header Authorization: Bearer TOKEN"}
            raise HTTPException(401, wrong, {"WWW-Authenticate": "Bearer"})

    return check
