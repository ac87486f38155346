"""The server in examples/: many requests at once are what single runs are, and each is told what it got."""

import asyncio
import base64
import io
import runpy
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image

import skipstone
from support import saved

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

EXAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[2] / "examples" / "server.py"), run_name="server")
)

CALL = {**EXAMPLE.SIZE, "height": 8, "width": 8, "num_inference_steps": 8, "negative_prompt": "a"}

COLOURS, PLACES = ("red", "blue", "red blue", "apple"), ("apple", "background", "on a background", "bounces")
WAYS: list[dict[str, float]] = [{"speedup": 2.0}, {"speedup": 3.0}, {"quality": 20.0}, {}]

REQUESTS = [
    {"prompt": f"a {colour} {place}", "seed": 4 * n + m, **WAYS[(n + m) % 4]}
    for n, colour in enumerate(COLOURS)
    for m, place in enumerate(PLACES)
]
"""16 of them, each of another prompt and another seed, by each way to ask."""


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = FluxPipeline.from_pretrained(saved.save_flux(tmp_path_factory.mktemp("flux")))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def record(pipe: Any) -> skipstone.Record:
    # Times of tiny models vary: say that a skipped step costs nothing.
    return replace(skipstone.record(pipe, "a red apple", **CALL), skip_cost=0.0)


@pytest.fixture
def server(pipe: Any, record: skipstone.Record) -> Iterator[Any]:
    made = EXAMPLE.Server(pipe, record, **CALL)
    yield made
    made.cache.remove()


def answers(server: Any, requests: list[dict[str, Any]]) -> list[Any]:
    """What the server answers to requests that come at once."""
    return posted(server, *({"json": one} for one in requests))


def posted(server: Any, *requests: dict[str, Any]) -> list[Any]:
    """The same of requests in any form."""

    async def all_of_them() -> list[Any]:
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=600) as client:
            return await asyncio.gather(*(client.post("/pictures", **one) for one in requests))

    return asyncio.run(all_of_them())


def picture(answer: Any) -> Any:
    return np.array(Image.open(io.BytesIO(base64.b64decode(answer.json()["picture"]))))


def alone(pipe: Any, plans: Any, request: dict[str, Any]) -> tuple[Any, str]:
    """What a single run with the same plan makes, and its strip."""
    plan = plans.for_request(EXAMPLE.Asked(**request))
    with skipstone.attach(pipe, plan) as cache:
        generator = torch.Generator().manual_seed(request["seed"])
        made = pipe(request["prompt"], generator=generator, **CALL).images[0]
        return np.array(made), cache.last_run.strip


def test_sixteen_requests_at_once_are_as_single_runs(pipe: Any, record: skipstone.Record) -> None:
    server = EXAMPLE.Server(pipe, record, **CALL)
    try:
        together = answers(server, REQUESTS)
    finally:
        server.cache.remove()
    for request, answer in zip(REQUESTS, together, strict=True):
        expected, strip = alone(pipe, server.plans, request)
        assert answer.status_code == 200
        assert np.array_equal(picture(answer), expected), request
        assert answer.json()["statistics"]["strip"] == strip
    strips = {answer.json()["statistics"]["strip"] for answer in together}
    assert len(strips) >= 3
    assert "#" * 8 in strips


def test_requests_take_turns(server: Any) -> None:
    """While two requests are there, none does two steps in a row."""
    order: list[int] = []
    passed = server.turns.pass_on

    def noted() -> None:
        order.append(threading.get_ident())
        passed()

    server.turns.pass_on = noted
    with server.turns:
        waiting = ThreadPoolExecutor(1).submit(answers, server, REQUESTS[:2])
        while len(server.turns._line) < 3:
            time.sleep(0.001)
    waiting.result()
    assert len(order) == 16
    assert len(set(order)) == 2
    assert all(before != after for before, after in pairwise(order))


def test_the_line_is_in_the_order_of_asking() -> None:
    turns, seen = EXAMPLE.Turns(), []

    def work(name: str) -> None:
        with turns:
            for _ in range(3):
                seen.append(name)
                turns.pass_on()

    with turns:
        pool = ThreadPoolExecutor(3)
        for count, name in enumerate("abc", start=2):
            pool.submit(work, name)
            while len(turns._line) < count:
                time.sleep(0.001)
    pool.shutdown()
    assert "".join(seen) == "abcabcabc"


def test_metrics_count_what_was_done(server: Any) -> None:
    made = answers(server, [{"prompt": "a red apple", "speedup": 2.0}])[0].json()["statistics"]
    answers(server, [{"prompt": "a red apple", "speedup": 100.0}])
    text = server.measured().body.decode()
    assert 'skipstone_requests_total{status="200"} 1.0' in text
    assert 'skipstone_requests_total{status="422"} 1.0' in text
    assert f'skipstone_evaluations_total{{kind="skipped"}} {float(made["skipped"])}' in text
    assert f'skipstone_evaluations_total{{kind="computed"}} {float(made["computed"])}' in text
    assert "skipstone_request_seconds_count 1.0" in text
    assert "skipstone_requests_now 0.0" in text


REFUSED = {
    "both": ({"prompt": "a", "speedup": 2, "quality": 30}, "a speedup or a quality"),
    "slower": ({"prompt": "a", "speedup": 0.5}, "greater than or equal to 1"),
    "beyond reach": ({"prompt": "a", "speedup": 100}, "cannot be reached"),
    "no prompt": ({"speedup": 2}, "Field required"),
    "no number": ({"prompt": "a", "seed": "x"}, "valid integer"),
}


@pytest.mark.parametrize(("request_", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_requests_are_refused(server: Any, request_: dict[str, Any], message: str) -> None:
    (answer,) = answers(server, [request_])
    assert answer.status_code == 422
    assert message in answer.text


UNWRITABLE = {
    "no number": '{"prompt": "a", "speedup": NaN}',
    "infinite": '{"prompt": "a", "speedup": Infinity}',
    "no quality": '{"prompt": "a", "quality": NaN}',
    "minus infinite": '{"prompt": "a", "quality": -Infinity}',
    "half a character": '{"prompt": "\\ud800"}',
    "cut off": '{"prompt": "\\ud800',
}


@pytest.mark.parametrize("text", UNWRITABLE.values(), ids=UNWRITABLE)
def test_what_json_cannot_hold_is_refused_in_one_line(server: Any, text: str) -> None:
    answer = posted(server, {"content": text, "headers": {"Content-Type": "application/json"}})[0]
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body.")
    assert "\n" not in answer.json()["detail"]
    assert 'skipstone_requests_total{status="422"} 1.0' in server.measured().body.decode()


def test_a_quality_beyond_reach_computes_every_step(server: Any) -> None:
    (answer,) = answers(server, [{"prompt": "a red apple", "quality": 500.0}])
    assert answer.json()["statistics"]["strip"] == "#" * 8


def test_who_comes_when_all_places_are_taken_is_told_so(server: Any) -> None:
    for _ in range(EXAMPLE.AT_ONCE):
        server.places.acquire()
    (answer,) = answers(server, [{"prompt": "a red apple"}])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_request_that_fails_leaves_its_place_and_its_turn(server: Any) -> None:
    server.arguments = {**CALL, "num_inference_steps": "many"}
    with pytest.raises(TypeError):
        answers(server, [{"prompt": "a red apple"}])
    assert 'skipstone_requests_total{status="500"} 1.0' in server.measured().body.decode()
    server.arguments = CALL
    (answer,) = answers(server, [{"prompt": "a red apple"}])
    assert answer.status_code == 200
    assert all(server.places.acquire(blocking=False) for _ in range(EXAMPLE.AT_ONCE))
