"""Recording: what is kept, that it is little, and what a file may be."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone.cachers.contract.words import ModelFacts, Outcome, RunFacts, Step
from skipstone.cachers.recorders.run import Recorder, Tape
from skipstone.pipelines.planning.record_of_run import record_of
from skipstone.pipelines.recording.rehearsal import Rehearsal
from skipstone.schedules.moments import Moments
from skipstone.schedules.profile import Quantity
from support import tiny
from support.recorded import Listening, recorded
from support.toy import AddsInPlace, ToyModel, drifting


@pytest.fixture(scope="module")
def wan() -> skipstone.Record:
    return recorded("wan", num_inference_steps=8)


def toy_record(model: torch.nn.Module, inputs: Any) -> skipstone.Record:
    with torch.no_grad():
        return skipstone.record(Listening(model), inputs)


def test_the_matrix_is_that_of_the_residuals() -> None:
    """The toy's residual is 6 * temb, which grows by a tenth a step."""
    record = toy_record(ToyModel(), drifting(5))
    norms = [1 + 0.1 * n for n in range(5)]
    scale = math.sqrt(sum(norm**2 for norm in norms) / 5)
    moments = record.moments[Quantity("transformer", "branch 0", "residual")]
    assert moments.gram == pytest.approx(np.outer(norms, norms) / scale**2, rel=1e-6)
    assert moments.norms == pytest.approx([6 * norm for norm in norms], rel=1e-6)
    assert record.steps == 5


def test_where_blocks_write_in_place_the_first_step_is_unknown_and_computed() -> None:
    record = toy_record(ToyModel(block=AddsInPlace), drifting(6))
    (residual,) = (part for key, part in record.moments.items() if key.name == "residual")
    assert residual.steps == (1, 2, 3, 4, 5)
    assert record.plan(computed=2).strip[:2] == "##"


def test_where_blocks_are_not_understood_the_output_is_recorded() -> None:
    class Doubling(ToyModel):
        def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            before = self.blocks[0].attn.calls
            output = super().forward(*args, **kwargs)
            return output * (1 + self.blocks[0].attn.calls - before)

    record = toy_record(Doubling(), drifting(5))
    residual, output = (record.matrix("transformer", name) for name in ("residual", "output"))
    assert residual is not None
    assert output is not None
    assert residual.gram == pytest.approx(output.gram)


def test_recording_changes_no_output() -> None:
    pipe = tiny.wan()
    bare = pipe()
    with skipstone.attach(pipe.pipe, Recorder()) as cache:
        assert torch.equal(pipe(), bare)
    assert cache.last_run.skipped == 0
    assert cache.last_run.bytes_held == 0


def test_a_record_leaves_the_random_state_alone() -> None:
    pipe, generator = tiny.wan(), torch.Generator().manual_seed(3)
    states = torch.get_rng_state(), generator.get_state()
    record = skipstone.record(pipe.pipe, **{**pipe.kwargs, "generator": generator, "output_type": "latent"})
    record.plan(computed=4)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(generator.get_state(), states[1])


def test_without_a_generator_the_processs_random_numbers_are_made_again() -> None:
    pipe = tiny.wan()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    record = skipstone.record(pipe.pipe, **{**pipe.kwargs, "output_type": "latent"})
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    validated = record.plan(computed=8).validated
    assert validated is not None
    assert validated.psnr == (math.inf,)


@pytest.mark.parametrize("given", ["one", "one a prompt", "none"])
def test_other_noise_is_not_the_recorded_one_but_always_the_same(given: str) -> None:
    """The stand-in takes down what a call draws from its generators, or from the process without any."""
    drawn: list[list[float]] = []

    def pipe(generator: Any = None, **kwargs: Any) -> tuple[Tensor]:
        listed = generator if isinstance(generator, list) else [generator]
        drawn.append([float(torch.rand((), generator=one)) for one in listed])
        return (torch.zeros(1),)

    one = torch.Generator().manual_seed(1)
    kwargs = {"one": {"generator": one}, "one a prompt": {"generator": [one, torch.Generator()]}, "none": {}}
    torch.manual_seed(2)
    recorded = Rehearsal(pipe, (), kwargs[given])
    for rehearsal in (recorded, recorded, recorded.with_other_noise(), recorded.with_other_noise()):
        rehearsal.run("again")
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]
    assert not set(drawn[0]) & set(drawn[2])


def test_noise_that_is_given_is_shuffled_for_other_noise() -> None:
    seen: list[Tensor] = []

    def pipe(latents: Tensor, **kwargs: Any) -> tuple[Tensor]:
        seen.append(latents)
        return (latents,)

    noise = torch.randn(1, 4, 8)
    recorded = Rehearsal(pipe, (), {"latents": noise})
    for rehearsal in (recorded, recorded.with_other_noise()):
        rehearsal.run("again")
    assert torch.equal(seen[0], noise)
    assert not torch.equal(seen[1], noise)
    assert torch.equal(seen[1].flatten().sort().values, noise.flatten().sort().values)


def test_a_guided_matrix_is_that_of_the_combined_branches(wan: skipstone.Record) -> None:
    """Guidance is 4: the diagonal of what guidance makes lies between the bounds of its parts."""
    parts = {key.branch: part for key, part in wan.moments.items() if key.name == "output"}
    assert set(parts) == {"cond", "uncond", "guided"}
    for n in range(8):
        cond, uncond, guided = (parts[name].norms[n] for name in ("cond", "uncond", "guided"))
        assert abs(4 * cond - 3 * uncond) <= guided <= 4 * cond + 3 * uncond
    assert not any(key.branch == "guided" for key in recorded("flux-distilled").moments)


def test_guidance_in_one_batch_is_the_guidance_of_its_halves() -> None:
    """Of two alike halves guidance makes the same again."""
    case = tiny.cogvideox()
    embeds = case.kwargs["prompt_embeds"]
    record = recorded("cogvideox", prompt_embeds=embeds, negative_prompt_embeds=embeds)
    for name in ("residual", "output"):
        both, guided = record.matrix("transformer", name), record.matrix("transformer", f"guided {name}")
        assert both is not None
        assert guided is not None
        assert guided.gram == pytest.approx(both.gram, abs=1e-4)


def test_every_model_of_a_pipeline_is_recorded_on_its_own_steps() -> None:
    record = recorded("wan-two-experts")
    steps = {key.model: part.steps for key, part in record.moments.items()}
    assert steps == {"transformer": (0, 1), "transformer_2": (2, 3, 4)}
    assert record.models == ["transformer", "transformer_2"]
    strip = record.plan(computed=3).strip
    assert strip[0] == strip[2] == "#"
    assert strip.count("#") == 3


def test_a_720p_video_model_of_14_billion_parameters_takes_less_than_100_megabytes() -> None:
    """50 steps, two branches, two quantities, 2,048 numbers of four bytes: 1.6 MB, whatever the model."""
    recorder = Recorder().for_model(ModelFacts("WanTransformer3DModel"))
    recorder.for_run(RunFacts(()))
    # Stand-ins of the real sizes that take no memory: 75,600 tokens of 5,120; 21 latent frames of 90 x 160.
    latents = torch.zeros(()).expand(1, 16, 21, 90, 160)
    residual = torch.zeros(()).expand(1, 75600, 5120)
    from skipstone.cachers.contract.coordinates import Coordinates

    coordinates = Coordinates(recorder.coordinates)
    for index in range(50):
        for branch in ("cond", "uncond"):
            outcome = Outcome(coordinates.of(residual), latents, branch=branch)
            recorder.update(None, outcome, Step(index, 50, 1.0), None)
    assert recorder.tapes["transformer"].nbytes == 50 * 2 * 2 * 2048 * 4 < 100e6


def test_after_its_check_a_recorded_step_keeps_no_whole_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step on nothing of the stream's size is held while the blocks run."""
    from skipstone.pipelines.evaluations.modes import Computing

    held: list[int] = []
    entering = Computing._entering

    def watched(self: Computing, *args: Any) -> Any:
        entry = entering(self, *args)
        held.extend(tensor.numel() for tensor in entry.tensors.values())
        return entry

    monkeypatch.setattr(Computing, "_entering", watched)
    ones = torch.ones(1, 4000, 2)
    toy_record(ToyModel(), [{"hidden_states": ones * n, "temb": ones} for n in range(1, 5)])
    assert held == [2048] * 3


def test_a_record_is_the_same_after_its_file(wan: skipstone.Record, tmp_path: Path) -> None:
    wan.save(tmp_path / "record.json")
    read = skipstone.load_record(tmp_path / "record.json")
    assert read.made_for == wan.made_for
    assert read.levels == wan.levels
    assert read.moments.keys() == wan.moments.keys()
    for key, part in wan.moments.items():
        assert read.moments[key].steps == part.steps
        assert read.moments[key].gram == pytest.approx(part.gram, rel=1e-8, abs=1e-8)
    assert read.judge is None


def test_a_record_of_50_steps_is_a_small_file(tmp_path: Path) -> None:
    moments = Moments(tuple(range(50)), np.eye(50) / 3)
    every = {Quantity("m", branch, name): moments for branch in "abc" for name in ("residual", "output")}
    skipstone.Record({}, tuple(np.linspace(1, 0, 50)), every).save(tmp_path / "record.json")
    assert (tmp_path / "record.json").stat().st_size < 200_000


def edited(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda content: json.dumps({**content, **changes})


def without(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda content: json.dumps({key: value for key, value in content.items() if key != name})


def with_moments(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda content: json.dumps({**content, "moments": [{**content["moments"][0], **changes}]})


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "no JSON": (lambda content: json.dumps(content)[:-9], "is damaged: it is no JSON"),
    "a list": (lambda content: "[]", "is no skipstone record"),
    "foreign": (lambda content: '{"a": 1}', "is no skipstone record"),
    "a plan": (edited(format="skipstone plan"), "is no skipstone record but a 'skipstone plan'"),
    "newer": (edited(schema=3), "has schema 3, this skipstone reads 2: upgrade"),
    "older": (edited(schema=1), "has schema 1, this skipstone reads 2: make the record again"),
    "no levels": (without("levels"), "is damaged.*levels"),
    "no moments": (edited(moments=[]), "is damaged: moments list should have at least 1"),
    "levels of another type": (edited(levels=["high"]), "is damaged.*high"),
    "too short a matrix": (with_moments(gram=[1.0, 2.0]), "is damaged"),
    "no matrix of moments": (with_moments(gram=[-1.0] * 36), "is damaged.*no quantity"),
    "a matrix that is not finite": (
        with_moments(gram=[math.nan] * 36),
        "is damaged: moments.0.gram.0 should be a finite number, got nan; make the record again",
    ),
    "steps of another run": (with_moments(steps=list(range(1, 9))), "is damaged.*in a run of 8"),
}


@pytest.mark.parametrize(("edit", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_record_is_refused_with_the_reason(
    wan: skipstone.Record, tmp_path: Path, edit: Callable[[dict[str, Any]], str], message: str
) -> None:
    path = tmp_path / "record.json"
    wan.save(path)
    path.write_text(edit(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=message) as error:
        skipstone.load_record(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        skipstone.load_record(tmp_path / "none.json")


def test_nothing_is_left_of_a_file_that_cannot_be_written(wan: skipstone.Record, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(wan, skip_cost=math.nan).save(tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


def test_two_records_added_are_one_of_both(wan: skipstone.Record) -> None:
    case = tiny.PIPELINES["wan"]()
    other = recorded("wan", num_inference_steps=8, prompt_embeds=case.kwargs["prompt_embeds"] * 2)
    both = wan.add(other)
    assert both.prompts == 2
    for key, part in both.moments.items():
        assert part.gram == pytest.approx((wan.moments[key].gram + other.moments[key].gram) / 2)
    validated = both.plan(computed=4).validated
    assert validated is not None
    assert len(validated.psnr) == 2


def test_records_of_different_runs_are_not_added(wan: skipstone.Record) -> None:
    with pytest.raises(ValueError, match="differ in steps, timesteps"):
        wan.add(recorded("wan", num_inference_steps=9))


def test_other_runs_are_served_within_a_range(wan: skipstone.Record) -> None:
    assert wan.resampled(np.linspace(1, 0.4, 16).tolist()).steps == 16
    for count in (3, 17):
        with pytest.raises(ValueError, match=f"serves runs of 4 to 16, this one has {count}: record"):
            wan.resampled(np.linspace(1, 0, count).tolist())


def test_a_pipeline_with_a_cache_is_not_recorded() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, "fora"), pytest.raises(ValueError, match="has a cache already"):
        skipstone.record(pipe.pipe, **pipe.kwargs)


def test_one_step_is_no_record() -> None:
    with pytest.raises(ValueError, match="fewer than two steps"):
        toy_record(ToyModel(), drifting(1))


GUIDED_BY_3 = RunFacts(tuple(Step(n, 2, 1.0) for n in range(2)), scales={"guidance_scale": 3.0})


def test_guidance_takes_the_second_half_of_a_batch_for_the_conditional_one() -> None:
    """As pipelines put them: at a scale of 3 of values 1 and 2 it makes 3 * 2 - 2 * 1."""
    tape = Tape(GUIDED_BY_3)
    halves = torch.tensor([1.0, 2.0])[:, None].expand(2, 8)
    tape.seen["cond_uncond"] = {0: (halves, halves), 1: (halves * 2, halves)}
    record = record_of({}, {"transformer": tape})
    residual = record.moments[Quantity("transformer", "guided", "residual")]
    assert residual.norms == pytest.approx([4.0, 8.0])
    assert record.moments[Quantity("transformer", "guided", "output")].norms == pytest.approx([4.0, 4.0])


def test_guidance_takes_the_branch_that_says_so_for_the_unconditional_one() -> None:
    for names in (("uncond", "cond"), ("branch 1", "branch 0")):
        tape = Tape(GUIDED_BY_3)
        ones = torch.ones(1, 8)
        for name, value in zip(reversed(names), (2.0, 1.0), strict=True):
            tape.seen[name] = dict.fromkeys(range(2), (value * ones, None))
        record = record_of({}, {"transformer": tape})
        assert record.moments[Quantity("transformer", "guided", "residual")].norms == pytest.approx(
            [4.0, 4.0]
        )


def test_bars_of_planning_are_labelled_and_leave_the_users_own_as_it_was(monkeypatch: Any) -> None:
    case, seen = tiny.flux(), []
    case.pipe.set_progress_bar_config(disable=True, ascii=True)
    call = type(case.pipe).__call__

    def noted(pipe: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(dict(pipe._progress_bar_config))
        return call(pipe, *args, **kwargs)

    monkeypatch.setattr(type(case.pipe), "__call__", noted)
    skipstone.record(case.pipe, **case.kwargs, output_type="latent").plan(computed=4)
    titles = [bar["desc"] for bar in seen]
    assert titles[:3] == ["recording", "other noise", "plan of 4 steps"]
    assert all(bar["ascii"] and not bar["leave"] for bar in seen)
    assert case.pipe._progress_bar_config == {"disable": True, "ascii": True}
