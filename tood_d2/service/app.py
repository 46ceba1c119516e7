"""The paths of the service, and what each of them does."""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import torch
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi import Query as FromQuery
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from .. import __version__
from ..data.images import UPLOAD_FORMATS, TooManyPixels, decode_upload
from .answers import (
    Description,
    Detections,
    ImageSize,
    Limits,
    Milliseconds,
    Model,
    Problem,
    Query,
    detections_of,
)
from .batching import Batcher, Detected, DetectionError, ServedModel
from .bodies import CLIENT_LEFT, HOW, read_image_file
from .metrics import Measured, Metrics

_LATER = {"Retry-After": "1"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"schema": {"type": "object", "properties": {"file": _BINARY["schema"]}}}
_BODY = {"content": {"image/*": _BINARY, "multipart/form-data": _FILE}, "required": True}
_PROBLEMS = {
    400: "no image, or a broken one",
    408: "the body took too long",
    413: "too many bytes or pixels",
    415: "a body of another type",
    422: "a wrong value in the query",
    500: "the model failed",
    503: "the model is not loaded yet, or the queue is full",
    504: "the image was not detected in early enough",
}


@dataclass
class Service:
    """A model for callers over HTTP.

    Attributes:
        load: gives the model.
        limits: of requests.
        confidence_threshold: least score by default.
        batch_size: images that are detected in together at most.
        batch_wait: see ``max_delay`` of :class:`.Batcher`.
        token: that requests have to bring, if there is one.
        stop: called if the model cannot be loaded.
        error: why it cannot.
    """

    load: Callable[[], ServedModel]
    limits: Limits = field(default_factory=Limits)
    confidence_threshold: float = 0.3
    batch_size: int = 1
    batch_wait: float = 0.0
    token: bytes | None = None
    stop: Callable[[], None] = lambda: None
    error: BaseException | None = None

    def __post_init__(self):
        self.metrics, self._num_requests = Metrics(), 0
        self.batcher = Batcher(self.batch_size, self.batch_wait, self.metrics.count_batch)
        self.metrics.watch_queue(lambda: self.batcher.num_waiting)

    async def detect(self, request: Request, query: Annotated[Query, FromQuery()]) -> Detections:
        """Detects in the image of the body, or in the only file of a form.

        Which kinds of images are read, and how large they may be, is told by `/v1/model`.
        """
        served, limits = self._served(), self.limits
        wanted = self._indices(query.classes)
        with self._place():
            max_bytes = int(limits.max_megabytes * 1e6)
            content = await read_image_file(request, max_bytes, limits.upload_timeout)
            found = await self._detect(request, content)
        x = found.instances
        threshold = query.confidence_threshold
        x = x[x.scores >= (self.confidence_threshold if threshold is None else threshold)]
        if wanted:
            x = x[torch.isin(x.pred_classes, torch.tensor(wanted))]
        height, width = x.image_size
        times = {name: round(1000 * getattr(found, name), 1) for name in Milliseconds.model_fields}
        return Detections(
            image=ImageSize(width=width, height=height),
            detections=detections_of(x, served.predictor.class_names),
            model=Model(name=served.name, version=served.version),
            milliseconds=Milliseconds(**times),
            batch_size=found.batch_size,
        )

    async def describe(self) -> Description:
        """The model, and the limits of requests."""
        served = self._served()
        return Description(
            name=served.name,
            version=served.version,
            class_names=served.predictor.class_names,
            input_format=served.predictor.input_format,
            image_kinds=UPLOAD_FORMATS,
            confidence_threshold=self.confidence_threshold,
            batch_size=self.batch_size,
            limits=self.limits,
            tood_d2=__version__,
        )

    async def is_alive(self) -> dict[str, bool]:
        """Whether the process answers."""
        return {"alive": True}

    async def is_ready(self) -> dict[str, bool]:
        """Whether the model is loaded; 503 until it is."""
        self._served()
        return {"ready": True}

    async def measurements(self) -> Response:
        """Requests by status, times, queue and batches in the form of Prometheus."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Has the model loaded, and images detected in, inside."""
        task = asyncio.create_task(self.batcher.run(self.load))
        task.add_done_callback(self._note_end)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _note_end(self, task: asyncio.Task) -> None:
        if not task.cancelled():
            self.error = task.exception()
            self.stop()

    def _served(self) -> ServedModel:
        if self.batcher.served is None:
            raise HTTPException(503, "the model is being loaded: try again later", _LATER)
        return self.batcher.served

    def _indices(self, classes: list[str]) -> list[int]:
        names = self._served().predictor.class_names
        if unknown := [x for x in classes if x not in names]:
            raise HTTPException(422, f"classes: {unknown[0][:80]!r} is not known, see /v1/model")
        return [names.index(x) for x in classes]

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._num_requests >= self.limits.max_queue:
            number = self.limits.max_queue
            raise HTTPException(503, f"{number} images are in work: try again later", _LATER)
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1

    async def _detect(self, request: Request, content: bytes) -> Detected:
        """Detects in a file's bytes unless it takes too long or the client leaves."""
        decode = partial(decode_upload, content, int(self.limits.max_megapixels * 1e6))
        detection = asyncio.ensure_future(self.batcher.detect(decode))
        leaving = asyncio.ensure_future(request.receive())  # after the body nothing else can come
        seconds = self.limits.max_wait
        try:
            await asyncio.wait(
                {detection, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if detection.done():
                return detection.result()
            if leaving.done():
                raise HTTPException(CLIENT_LEFT, "the client has left")
            raise HTTPException(504, f"not done after {seconds:g} seconds: try again later")
        except TooManyPixels as error:
            raise HTTPException(413, str(error)) from error
        except ValueError as error:
            raise HTTPException(400, f"{error}: {HOW}") from error
        except DetectionError as error:
            raise HTTPException(500, "the model failed on this image") from error
        finally:
            detection.cancel()
            leaving.cancel()


def build_app(service: Service) -> FastAPI:
    """The ASGI application of a service."""
    app = FastAPI(title="tood_d2", version=__version__, redoc_url=None, lifespan=service.running)
    app.add_middleware(Measured, metrics=service.metrics)
    app.exception_handler(RequestValidationError)(_answer_wrong_query)
    app.exception_handler(Exception)(_answer_fault)
    closed = {"dependencies": [Depends(_token_check(service.token))] if service.token else []}
    problems = {status: {"model": Problem, "description": x} for status, x in _PROBLEMS.items()}
    add = app.add_api_route
    add(
        "/v1/detect",
        service.detect,
        methods=["POST"],
        responses=problems,
        openapi_extra={"requestBody": _BODY},
        **closed,
    )
    add("/v1/model", service.describe, responses={503: problems[503]}, **closed)
    add("/metrics", service.measurements, response_class=Response, **closed)
    add("/healthz", service.is_alive)
    add("/readyz", service.is_ready, responses={503: problems[503]})
    return app


def _token_check(token: bytes) -> Callable:
    bearer = HTTPBearer(auto_error=False)

    async def check(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        given = credentials.credentials.encode("latin-1") if credentials else b""
        if not hmac.compare_digest(given, token):
            message = "a token is needed, as Authorization: Bearer TOKEN"
            raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})

    return check


async def _answer_wrong_query(request: Request, error: RequestValidationError) -> JSONResponse:
    texts = [f"{str(x['loc'][-1])[:80]}: {x['msg']}" for x in error.errors()]
    return JSONResponse({"detail": "; ".join(texts[:5])}, 422)


async def _answer_fault(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "a fault of the service, which its log tells of"}, 500)
