"""Every call belongs to its run: runs side by side are what each of them is alone, bit for bit."""

import copy
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, FirstBlock, Taylor, WithPredictor
from skipstone.pipelines.run.model_time import ModelTime
from skipstone.pipelines.run.run import ASTRAY, Run
from skipstone.pipelines.run.schedule import Schedule
from support import tiny
from support.tiny_pipelines import PIPELINES

METHODS = {
    "fora": FORA(3),
    "first block": FirstBlock(1e9),
    "taylor": WithPredictor(FORA(3), Taylor(order=1)),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


on_devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def pipe(request: pytest.FixtureRequest) -> Any:
    """On a GPU, the scheduler's times are there too."""
    return tiny.wan().pipe.to(request.param)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Request:
    """A run that a program steps itself.

    Args:
        pipe: whose model it calls.
        seed: of its noise and of its prompt.
        steps: how many it has.
        prompt: by default one of its own.

    ``hides_time`` tells whether the model is given a copy of the scheduler's time.
    """

    hides_time = False

    def __init__(self, pipe: Any, seed: int, steps: int, prompt: Tensor | None = None) -> None:
        self.model = pipe.transformer
        self.scheduler = copy.deepcopy(pipe.scheduler)
        self.scheduler.set_timesteps(steps, device=pipe.device)
        self.latents = drawn(1, 4, 2, 4, 4, seed=seed).to(pipe.device)
        self.prompt = (drawn(1, 6, 8, seed=seed + 100) if prompt is None else prompt).to(pipe.device)
        self.left = list(self.scheduler.timesteps)

    @torch.no_grad()
    def step(self) -> None:
        time = self.left.pop(0)
        # As a number from elsewhere: nothing but its value tells whose it is.
        time = time.clone() if self.hides_time else time
        noise = self.model(self.latents, time.expand(1), self.prompt, return_dict=False)[0]
        self.latents = self.scheduler.step(noise, time, self.latents, return_dict=False)[0]

    def finish(self) -> Tensor:
        while self.left:
            self.step()
        return self.latents


def alone(pipe: Any, method: Any, seed: int, steps: int) -> Tensor:
    with skipstone.attach(pipe, method) as cache:
        latents = Request(pipe, seed, steps).finish()
        assert cache.last_run.skipped > 0
    return latents


def in_turns(requests: list[Request]) -> Iterator[Request]:
    """Each request that has steps left, again and again."""
    while any(request.left for request in requests):
        yield from (request for request in requests if request.left)


@every_method
@pytest.mark.parametrize("count", [2, 8])
def test_requests_in_turns_with_a_scheduler_each(pipe: Any, method: Any, count: int) -> None:
    expected = [alone(pipe, method, seed, 8 + seed % 3) for seed in range(count)]
    with skipstone.attach(pipe, method):
        requests = [Request(pipe, seed, 8 + seed % 3) for seed in range(count)]
        for request in in_turns(requests):
            request.step()
    for request, wanted in zip(requests, expected, strict=True):
        assert torch.equal(request.latents, wanted)


@every_method
def test_named_runs_in_turns(pipe: Any, method: Any) -> None:
    """Also where the requests have one prompt and one schedule, by which nobody could tell them apart."""
    expected = [alone(pipe, method, seed, 9) for seed in (1, 2)]
    with skipstone.attach(pipe, method) as cache:
        requests = {seed: Request(pipe, seed, 9) for seed in (1, 2)}
        for request in in_turns(list(requests.values())):
            key = next(seed for seed, one in requests.items() if one is request)
            with cache.run(key, steps=9) as run:
                request.step()
            assert run.stats.evaluations == 9 - len(request.left)
    for request, wanted in zip(requests.values(), expected, strict=True):
        assert torch.equal(request.latents, wanted)


def test_what_cannot_be_told_apart_is_computed(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of one schedule and one prompt, without names: right, whatever it costs."""
    prompt, seeds = drawn(1, 6, 8, seed=0).to(pipe.device), (1, 2, 3)
    monkeypatch.setattr(Request, "hides_time", True)
    bare = [Request(pipe, seed, 8, prompt=prompt).finish() for seed in seeds]
    with skipstone.attach(pipe, FORA(1000)) as cache:
        requests = [Request(pipe, seed, 8, prompt=prompt) for seed in seeds]
        for request in in_turns(requests):
            request.step()
        notes = cache.last_run.notes
    for request, wanted in zip(requests, bare, strict=True):
        assert torch.equal(request.latents, wanted)
    assert "several runs" in "".join(notes)


@every_method
def test_a_run_in_the_callback_of_another(pipe: Any, method: Any) -> None:
    expected, run = alone(pipe, method, 5, 7), same(pipe)
    with skipstone.attach(pipe, method):
        wanted = run()

    def step(pipe: Any, index: int, *rest: Any) -> dict[str, Any]:
        if inner.left:
            inner.step()
        return {}

    with skipstone.attach(pipe, method):
        inner = Request(pipe, 5, 7)
        found = run(callback_on_step_end=step)
        inner.finish()
    assert torch.equal(found, wanted)
    assert torch.equal(inner.latents, expected)


def same(pipe: Any) -> Callable[..., Tensor]:
    """The tiny pipeline's own call, on another of its kind."""
    names = ("prompt_embeds", "negative_prompt_embeds")
    prompts = {name: drawn(1, 6, 8, seed=seed).to(pipe.device) for seed, name in enumerate(names)}
    size = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 8, "guidance_scale": 4.0}

    def call(**more: Any) -> Tensor:
        frames: Tensor = pipe(
            **prompts, **size, generator=torch.manual_seed(0), output_type="latent", **more
        ).frames
        return frames

    return call


def test_threads_at_the_same_time(pipe: Any) -> None:
    expected = {seed: alone(pipe, FORA(3), seed, 8) for seed in range(4)}
    found: dict[int, Tensor] = {}
    with skipstone.attach(pipe, FORA(3)):
        threads = [
            threading.Thread(target=lambda seed=seed: found.update({seed: Request(pipe, seed, 8).finish()}))
            for seed in expected
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(found[seed], wanted) for seed, wanted in expected.items())


@pytest.mark.parametrize("is_far", [False, True])
def test_a_step_that_is_taken_again_for_the_next_tile_is_the_same_step(
    pipe: Any, is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tiles of one run, each stepped by the same scheduler's state of that step."""
    if is_far:
        monkeypatch.setattr(ModelTime, "is_at_hand", Far.is_at_hand)
    with skipstone.attach(pipe, FORA(2)) as cache:
        first, second = Request(pipe, 1, 6), Request(pipe, 2, 6)
        second.scheduler = copy.deepcopy(first.scheduler)
        for _ in range(6):
            first.step()
            second.step()
        strip = cache.last_run.strip
    assert strip == "#.#.#."
    assert torch.equal(first.latents, alone(pipe, FORA(2), 1, 6))


class Far(ModelTime):
    """A time whose numbers are on a device."""

    is_at_hand = property(lambda self: "bounds" in vars(self))  # type: ignore[assignment]


@pytest.mark.parametrize("unit", [1.0, 1000.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wrong", [None, 2])
def test_a_time_on_a_device_is_checked_once_it_has_arrived(
    pipe: Any, wrong: int | None, kind: torch.dtype, unit: float
) -> None:
    scheduler = pipe.scheduler
    scheduler.set_timesteps(6)
    run = Run(Schedule.of(scheduler), scheduler)
    for number, timestep in enumerate(scheduler.timesteps):
        given = timestep * (0.7 if number == wrong else 1.0) / unit
        time = Far(given.to(kind).expand(2))
        assert run.fits(time, believed=True) == number
        run.enter(number, time)
        run.take(ModelTime(timestep))
    assert run.trusted == (wrong is None)
    assert run.log.stats().notes == (() if wrong is None else (ASTRAY,))


@pytest.mark.parametrize("announced", [True, False])
def test_a_run_that_begins_late_with_its_time_on_a_device(pipe: Any, announced: bool) -> None:
    scheduler = pipe.scheduler
    scheduler.set_timesteps(10)
    run = Run(Schedule.of(scheduler), scheduler)
    if announced:
        scheduler.set_begin_index(7)
    for number, timestep in enumerate(scheduler.timesteps[7:]):
        time = Far((timestep / 1000).expand(2))
        assert run.fits(time, believed=True) == number
        run.enter(number, time)
        run.take(ModelTime(timestep))
        assert (run.first, run.count, run.index) == (7, 3, number)
    assert run.finished
    assert run.trusted


@on_devices
@pytest.mark.parametrize(
    "name", sorted(PIPELINES.keys() & {"wan", "flux-image-to-image", "sd3", "cog-video-x", "wan-two-experts"})
)
def test_a_pipeline_whose_times_are_on_a_device_skips_as_any(
    name: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PIPELINES[name].make()
    run.pipe.to(device)
    run.kwargs.update({key: value.to(device) for key, value in run.kwargs.items() if torch.is_tensor(value)})
    found = []
    for is_at_hand in (ModelTime.is_at_hand, Far.is_at_hand):
        monkeypatch.setattr(ModelTime, "is_at_hand", is_at_hand)
        with skipstone.attach(run.pipe, FORA(1000)) as cache:
            found.append((run(), cache.last_run.strip, cache.last_run.notes))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    assert "." in found[0][1]


def test_a_whole_time_on_a_device_is_a_step_whose_time_was_cut(pipe: Any) -> None:
    scheduler = pipe.scheduler
    scheduler.set_timesteps(6)
    run = Run(Schedule.of(scheduler), scheduler)
    for number, timestep in enumerate(scheduler.timesteps):
        run.enter(number, Far(timestep.long().expand(2)))
        run.take(ModelTime(timestep))
    assert run.trusted


def test_another_prompt_in_the_middle_is_computed(pipe: Any) -> None:
    with skipstone.attach(pipe, FORA(1000)) as cache:
        request = Request(pipe, 1, 8)
        for _ in range(4):
            request.step()
        request.prompt = drawn(1, 6, 8, seed=7).to(pipe.device)
        request.finish()
        assert cache.last_run.strip == "#...#..."


def test_the_next_step_is_computed_when_asked_for(pipe: Any) -> None:
    with skipstone.attach(pipe, FORA(1000)) as cache:
        request = Request(pipe, 1, 8)
        for _ in range(4):
            request.step()
        cache.compute_next()
        request.finish()
        assert cache.last_run.strip == "#...#..."
        assert cache.last_run.reasons["the program asked for it"] == 1


def test_a_named_run_that_is_ended_frees_its_memory(pipe: Any) -> None:
    with skipstone.attach(pipe, FORA(3)) as cache:
        for key in range(5):
            request = Request(pipe, key, 8)
            with cache.run(key, steps=8) as run:
                request.step()
            run.end()
            with pytest.raises(RuntimeError, match=f"the run {key} is over"), run:
                pass
        del request, run
        gc.collect()
        assert all(engine.bytes_held == 0 for engine in cache._engines)


@pytest.mark.parametrize("is_one_block", [True, False])
def test_a_named_run_steps_by_itself_at_the_times_of_a_scheduler(pipe: Any, is_one_block: bool) -> None:
    """The program asks the pipeline's scheduler for times, and steps by its own arithmetic."""
    pipe.scheduler.set_timesteps(8, device=pipe.device)
    latents, prompt = drawn(1, 4, 2, 4, 4, seed=0).to(pipe.device), drawn(1, 6, 8, seed=1).to(pipe.device)
    with torch.no_grad(), skipstone.attach(pipe, FORA(3)) as cache:
        run = cache.run("request", steps=8)
        with run if is_one_block else nullcontext():
            for time in pipe.scheduler.timesteps:
                with nullcontext() if is_one_block else run:
                    latents -= pipe.transformer(latents, time.expand(1), prompt, return_dict=False)[0] / 8
        assert cache.last_run.strip == "#..#..#."
        assert run.run.ended


def test_a_named_run_with_times_of_its_own_takes_none_of_a_scheduler(pipe: Any) -> None:
    """The times are numbers that the counted steps have too, from the second on."""
    pipe.scheduler.set_timesteps(6)
    latents, prompt = drawn(1, 4, 2, 4, 4, seed=0).to(pipe.device), drawn(1, 6, 8, seed=1).to(pipe.device)
    with torch.no_grad(), skipstone.attach(pipe, FORA(3)) as cache:
        for time in (750.0, 500.0, 250.0, 0.0):
            with cache.run("request", steps=4) as run:
                pipe.transformer(latents, torch.tensor([time]).to(pipe.device), prompt, return_dict=False)
        assert cache.last_run.strip == "#..#"
        assert run.run.ended


@every_method
def test_requests_that_step_by_themselves_know_the_steps_of_the_scheduler(pipe: Any, method: Any) -> None:
    """In turns, each at the times that the pipeline's scheduler has set."""
    pipe.scheduler.set_timesteps(9, device=pipe.device)
    with skipstone.attach(pipe, method) as cache:
        requests = {seed: Request(pipe, seed, 9) for seed in (1, 2)}
        for _ in range(9):
            for seed, request in requests.items():
                with torch.no_grad(), cache.run(seed, steps=9) as run:
                    time = request.left.pop(0)
                    pipe.transformer(request.latents, time.clone().expand(1), request.prompt)
                assert run.run.step.sigma == pytest.approx(float(pipe.scheduler.sigmas[run.run.index]))


@pytest.mark.parametrize("steps", [0, -3])
def test_a_run_has_a_step_at_least(pipe: Any, steps: int) -> None:
    with skipstone.attach(pipe, FORA(3)) as cache, pytest.raises(ValueError, match="steps must be"):
        cache.run("a", steps=steps)
