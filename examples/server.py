"""A server of one model: requests take turns step by step, each with a speed or a quality of its own.

    pip install "skipstone[pebble,server]"
    python examples/server.py [STEPS]
    curl localhost:8000/pictures -H "Content-Type: application/json" -d '{"prompt": "a snail", "speedup": 3}'

The answer has the picture as base64 of a PNG, and what was skipped. /metrics is for Prometheus.
"""

import base64
import copy
import io
import sys
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from threading import BoundedSemaphore, Condition
from time import perf_counter
from typing import Any, ClassVar

import torch
from diffusers import FluxPipeline
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field, model_validator

import skipstone

AT_ONCE = 16
"""How many requests are under way at once; each holds its residuals."""

SIZE = {"height": 128, "width": 128, "negative_prompt": "", "true_cfg_scale": 4.0}
"""The arguments of each call, which the record is made with, too."""

PICTURES = "/pictures"

plan_of_request: ContextVar[skipstone.Plan] = ContextVar("plan_of_request")


class Asked(BaseModel):
    """What a client asks for: a speed or a quality, or neither to compute every step."""

    prompt: str = Field(max_length=2000)
    seed: int = Field(0, ge=0, lt=2**63)
    speedup: float | None = Field(None, ge=1, le=1000, allow_inf_nan=False)
    quality: float | None = Field(
        None, allow_inf_nan=False, description="the least PSNR in dB to expect against every step"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> "Asked":
        if self.speedup is not None and self.quality is not None:
            raise ValueError("give a speedup or a quality, not both")
        return self


class Turns:
    """Threads work in turns: whoever passes the turn on goes to the end of the line."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._moved = Condition()

    def __enter__(self) -> None:
        ticket = object()
        with self._moved:
            self._line.append(ticket)
            self._moved.wait_for(lambda: self._line[0] is ticket)

    def __exit__(self, *_: object) -> None:
        with self._moved:
            self._line.popleft()
            self._moved.notify_all()

    def pass_on(self) -> None:
        """Let all others that wait do a step."""
        self.__exit__()
        self.__enter__()


class Plans:
    """Plans from one record, by what is asked for."""

    def __init__(self, record: skipstone.Record) -> None:
        self._record = replace(record, judge=None)  # none of them is tried while clients wait
        self.for_speed = cache(lambda speedup: self._record.plan(speedup=speedup))
        self._curve = self.for_speed(1.0).curve()

    def for_request(self, asked: Asked) -> skipstone.Plan:
        """The plan for the speed, or the fastest of which the quality is expected."""
        if asked.quality is None:
            return self.for_speed(asked.speedup or 1.0)
        good = [speedup for speedup, psnr in self._curve if psnr >= asked.quality]
        return self.for_speed(max(good, default=1.0))


@dataclass(frozen=True)
class AsAsked(skipstone.Wrapper):
    """Follow the plan of the request that a run belongs to."""

    name: ClassVar[str] = "as-asked"

    def for_run(self, run: Any) -> skipstone.Cacher[Any]:
        return replace(self.cacher, plan=plan_of_request.get()).for_run(run)


class Server:
    """One model for all requests.

    Args:
        pipe: the pipeline whose models are shared.
        record: an uncached run of it, from which plans are made.
        arguments: those of each call beside the prompt.
    """

    def __init__(self, pipe: Any, record: skipstone.Record, **arguments: Any) -> None:
        self.pipe, self.plans, self.arguments = pipe, Plans(record), arguments
        self.cache = skipstone.attach(pipe, AsAsked(skipstone.Planned(self.plans.for_speed(1.0))))
        self.turns, self.places = Turns(), BoundedSemaphore(AT_ONCE)
        self.metrics = CollectorRegistry()
        ours: dict[str, Any] = {"namespace": "skipstone", "registry": self.metrics}
        self.answers = Counter("requests", "Answered requests.", ["status"], **ours)
        self.evaluations = Counter("evaluations", "Evaluations of the model.", ["kind"], **ours)
        self.seconds = Histogram("request_seconds", "From the request to its picture.", **ours)
        self.now = Gauge("requests_now", "Requests under way.", **ours)
        self.app = FastAPI(title="skipstone")
        self.app.middleware("http")(self._counted)
        self.app.exception_handler(RequestValidationError)(refused)
        self.app.post(PICTURES)(self.make)
        self.app.get("/metrics")(self.measured)

    def make(self, asked: Asked) -> dict[str, Any]:
        """Make a picture. FastAPI calls this in a thread for each request."""
        try:
            plan = self.plans.for_request(asked)
        except ValueError as why:
            raise HTTPException(422, str(why)) from None
        if not self.places.acquire(blocking=False):
            raise HTTPException(503, f"{AT_ONCE} requests are under way", {"Retry-After": "1"})
        try:
            with self.now.track_inprogress(), self.seconds.time():
                return self._made(asked, plan)
        finally:
            self.places.release()

    def _made(self, asked: Asked, plan: skipstone.Plan) -> dict[str, Any]:
        plan_of_request.set(plan)
        began = perf_counter()
        with self.turns, self.cache.run(uuid.uuid4().hex, steps=len(plan.strip)) as run:
            picture = self._pipeline()(
                asked.prompt,
                generator=torch.Generator().manual_seed(asked.seed),
                callback_on_step_end=self._next_turn,
                **self.arguments,
            ).images[0]
        self.evaluations.labels("computed").inc(run.stats.computed)
        self.evaluations.labels("skipped").inc(run.stats.skipped)
        return {
            "picture": png(picture),
            "statistics": run.stats.as_dict(),
            "psnr_expected": plan.summary()["psnr_expected"],
            "seconds": perf_counter() - began,
        }

    def _pipeline(self) -> FluxPipeline:
        """A pipeline of the request's own, with the shared models and another scheduler."""
        pipe = FluxPipeline(**{**self.pipe.components, "scheduler": copy.deepcopy(self.pipe.scheduler)})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _next_turn(self, *_: Any) -> dict[str, Any]:
        self.turns.pass_on()
        return {}

    async def _counted(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Count each answer by its status, also where answering fails."""
        status = 500
        try:
            answered = await answer(request)
            status = answered.status_code
            return answered
        finally:
            if request.url.path == PICTURES:
                self.answers.labels(status).inc()

    def measured(self) -> Response:
        """What Prometheus reads."""
        return Response(generate_latest(self.metrics), media_type="text/plain; version=0.0.4")


def refused(_: Request, error: RequestValidationError) -> Response:
    """Say in one line what is wrong, without what was sent: not all of it can be written as JSON."""
    wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return JSONResponse({"detail": "; ".join(wrong)}, 422)


def png(picture: Any) -> str:
    """A picture as text."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    import uvicorn

    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    models = skipstone.load("pebble-image")
    call = {**SIZE, "num_inference_steps": steps}
    record = skipstone.record(models, "a rocket on a black background", **call)
    uvicorn.run(Server(models, record, **call).app, host="127.0.0.1", port=8000)
