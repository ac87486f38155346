"""SkyReels-V2's diffusion forcing without the blocks of frames that a step neither changes nor needs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from skipstone.pipelines.causal.attention import SelfAttentions
from skipstone.pipelines.causal.forcing import Forcing, Needed
from skipstone.pipelines.causal.rotary import shift_frames
from skipstone.pipelines.model.adapters import adapter_signs
from skipstone.pipelines.model.calls import parameters_of
from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.model.compiled import compiles, uncompiled, written
from skipstone.pipelines.model.outputs import floats_in, refilled
from skipstone.pipelines.run.conditioning import conditioning
from skipstone.pipelines.run.per_task import PerTask
from skipstone.pipelines.run.pipeline_calls import PipelineCall
from skipstone.pipelines.run.runs import Runs
from skipstone.pipelines.run.stats import FRAME_BLOCK

BLOCK = "num_frame_per_block"
"""The model's setting for how many latent frames are in a block."""

BIDIRECTIONAL = (
    "its frames see later ones (causal_block_size is 1), so no prefix can be shared exactly, and all frames "
    "are computed"
)
ALL_CHANGE = "every step changes all blocks of frames (see ar_step), so none was left out"
NOT_FOLLOWED = "a call was not one of the pipeline's own loop, so all of its blocks were computed"


def refuse_prefix(pipe: Any) -> None:
    """Refuse a pipeline that has no prefix to share.

    Raises:
        ValueError: its frames are not denoised block by block, or finished ones see later ones.
    """
    config = getattr(getattr(pipe, "transformer", None), "config", {})
    if hasattr(pipe, "generate_timestep_matrix") and BLOCK in config:
        return
    raise ValueError(
        f"shared-prefix cannot work on {type(pipe).__name__}: no frames of it are finished before others "
        "and do not see them (docs/shared_prefix.md); it works on SkyReels-V2's diffusion forcing"
    )


class SharedPrefix:
    """Compute only what a step of diffusion forcing changes, until `remove`.

    Args:
        pipe: a pipeline of SkyReels-V2's diffusion forcing.
        runs: its runs.
        current: returns the pipeline's call in progress.
        note: receives notes on calls that belong to no run.
    """

    def __init__(
        self,
        pipe: Any,
        runs: Runs,
        current: Callable[[], PipelineCall | None],
        note: Callable[[str], None],
    ) -> None:
        self._pipe, self._runs, self._current, self._note = pipe, runs, current, note
        self._called = pipe.transformer
        self._model: Any = written(pipe.transformer)
        self._adapters = adapter_signs(self._model)
        self._loops: dict[PipelineCall, Forcing] = {}
        self._before: PerTask[int | None] = PerTask(None)
        with ExitStack() as undo:
            self._attentions = SelfAttentions(self._model)
            undo.callback(self._attentions.remove)
            for swap in (
                shift_frames(self._model.rope, lambda _: self._before.get() or 0),
                give_subclass(self._model, {"config": property(self._config_now())}),
                give_subclass(self._called, {"__call__": self._followed_model()}),
                give_subclass(pipe, {"generate_timestep_matrix": self._followed_pipeline()}),
            ):
                undo.callback(swap.undo)
            self._undo = undo.pop_all()

    def remove(self) -> None:
        """Restore the pipeline; a second call does nothing."""
        self._undo.close()
        self._loops.clear()

    def forget(self) -> None:
        """Compute finished frames again, after a change that nobody sees."""
        for loop in self._loops.values():
            loop.kept.clear()

    def end_call(self, call: PipelineCall) -> None:
        """Free what was kept for a call of the pipeline."""
        loop = self._loops.pop(call, None)
        if loop is None:
            return
        counted = {part for entry in loop.run.log.entries for part in entry.parts}
        if (FRAME_BLOCK, False) in counted and (FRAME_BLOCK, True) not in counted:
            loop.run.log.note(ALL_CHANGE)

    # Where the pipeline is

    def _followed_pipeline(self) -> Callable[..., Any]:
        make, begin = type(self._pipe).generate_timestep_matrix, self._begin_loop

        def generate_timestep_matrix(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = make(self, *args, **kwargs)
            begin(*made)
            return made

        return generate_timestep_matrix

    def _begin_loop(self, times: Tensor, _: Tensor, changes: Tensor, windows: list[tuple[int, int]]) -> None:
        call, block = self._current(), self._model.config[BLOCK]
        if call is None:
            return
        self.end_call(call)
        if block > 1:
            run = self._runs.pace(call, len(times))
            # The pipeline may still write into these.
            self._loops[call] = Forcing(times, changes, windows, block, run)
        else:
            self._note(BIDIRECTIONAL)

    # What the model computes

    def _config_now(self) -> Callable[[Any], Any]:
        """The model's configuration; without blocks where their mask is not needed."""
        below, before = type(self._model).config, self._before

        def config(self: Any) -> Any:
            plain = below.__get__(self)
            return plain if before.get() is None else type(plain)({**plain, BLOCK: 1})

        return config

    def _followed_model(self) -> Callable[..., Any]:
        cls, called, answer = type(self._called), self._called, self._answer

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return answer(partial(cls.__call__, called), args, kwargs)

        return uncompiled(call, recursive=False)

    def _answer(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = {**dict(zip(parameters_of(self._model), args, strict=False)), **kwargs}
        call = self._current()
        loop = None if call is None else self._loops.get(call)
        if call is None or loop is None:
            return run(**given)
        row, latents, times = call.pipe._current_timestep, given.get("hidden_states"), given.get("timestep")
        step = loop.step_of(row, latents, times)
        why = NOT_FOLLOWED if step is None else self._why_whole()
        if step is not None:
            self._runs.tell(loop.run, step)
        if step is None or why is not None:
            loop.run.log.note(str(why))
            return run(**given)
        return self._answer_in_part(run, loop, step, given)

    def _why_whole(self) -> str | None:
        why = self._attentions.why_not
        if compiles(self._called):
            why = "it is compiled as a whole"
        if self._model.config["patch_size"][0] != 1:
            why = "its patches take several frames"
        return None if why is None else f"{why}, so all blocks of frames are computed"

    def _answer_in_part(
        self, run: Callable[..., Any], loop: Forcing, step: int, given: dict[str, Any]
    ) -> Any:
        latents, times = given["hidden_states"], given["timestep"]
        branch = loop.branch(conditioning(self._model, (), given), step)
        loop.follow(self._adapters())
        needed = loop.needed(step, branch, latents, times)
        rule = loop.rule(branch, needed, self._tokens(latents))
        frames = slice(needed.known, needed.end)
        part = {**given, "hidden_states": latents[:, :, frames], "timestep": times[:, frames]}
        with self._attentions.by(rule), self._with_frames_before(needed.known):
            output = run(**part)
        # A cache may have skipped some of the layers, or all.
        if len(rule.kept) == len(self._attentions):
            layers = [rule.kept[layer] for layer in range(len(rule.kept))]
            loop.keep(branch, needed, latents, times, layers)
        self._count(loop, needed, latents.shape[2])
        around = (0, 0, 0, 0, needed.known, latents.shape[2] - needed.end)
        return refilled(output, (pad(frames, around) for frames in floats_in(output)))

    @contextmanager
    def _with_frames_before(self, frames: int) -> Iterator[None]:
        self._before.set(frames)
        try:
            yield
        finally:
            self._before.set(None)

    def _tokens(self, latents: Tensor) -> int:
        """The tokens of one frame."""
        _, height, width = self._model.config["patch_size"]
        return latents.shape[3] // int(height) * (latents.shape[4] // int(width))

    def _count(self, loop: Forcing, needed: Needed, frames: int) -> None:
        log, entry = loop.run.log, loop.run.log.entries[-1]
        computed = (needed.end - needed.known) // loop.block
        # A step that a cache skipped has no parts.
        if entry.reason is not None:
            left_out = frames // loop.block - computed
            entry.parts += Counter({(FRAME_BLOCK, False): computed, (FRAME_BLOCK, True): left_out})
        held = loop.nbytes + sum(memory.nbytes for memory in loop.run.models.values())
        log.bytes_held = max(log.bytes_held, held)
