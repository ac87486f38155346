"""One loop of diffusion forcing: which blocks of frames each of its steps needs, and what is kept of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Reason
from skipstone.pipelines.causal.attention import Attend, KeysValues, Rotary, rotated
from skipstone.pipelines.causal.rotary import last_tokens
from skipstone.pipelines.run.conditioning import Conditioning, Conditionings, same_content
from skipstone.pipelines.run.run import Run

CHANGED = (
    "finished frames were not what they were a step before (noise is added to them, or a callback writes "
    "into them), so they were computed again"
)
ADAPTERS = "adapters changed during the run, so finished frames were computed again"
WRITTEN = "a prompt was written in place, so finished frames were computed again"
MOVED = "the window of frames moved, so its finished frames were computed again"


@dataclass(frozen=True)
class Needed:
    """The frames of one call, in whole blocks and counted from the beginning of its window.

    Args:
        start: where the window begins.
        first: the first frame that this step changes; all before it are the prefix.
        end: one after the last frame that it changes; later ones are seen by none of these.
        known: how many frames of the prefix are kept.
    """

    start: int
    first: int
    end: int
    known: int


@dataclass
class Kept:
    """The prefix of one guidance branch, as far as it was computed.

    Args:
        start: where the window begins.
        latents: the prefix, ``(batch, channels, frames, height, width)``.
        times: its times, ``(batch, frames)``.
        layers: its rotated keys, and its values.
    """

    start: int
    latents: Tensor
    times: Tensor
    layers: list[KeysValues]

    @property
    def frames(self) -> int:
        return self.latents.shape[2]

    @property
    def nbytes(self) -> int:
        return self.latents.nbytes + sum(layer.nbytes for layer in self.layers)

    def same_frames(self, latents: Tensor, times: Tensor) -> int:
        """How many of its first frames a call is given again, to the last bit."""
        if latents.shape[2] < self.frames:
            return 0
        same = (latents[:, :, : self.frames] == self.latents).all(dim=4).all(dim=3).all(dim=1).all(dim=0)
        same &= (times[:, : self.frames] == self.times).all(dim=0)
        return int(same.long().cumprod(dim=0).sum())

    def first_frames(self, frames: int) -> "Kept":
        """The prefix without its later frames."""
        ends = [layer.tokens // self.frames * frames for layer in self.layers]
        layers = [layer.part(0, end) for layer, end in zip(self.layers, ends, strict=True)]
        return Kept(self.start, self.latents[:, :, :frames], self.times[:, :frames], layers)


@dataclass
class Blockwise:
    """Let each block attend to the blocks before it and to itself, without a mask.

    Args:
        block: tokens in a block.
        keep: how many of the first new tokens become part of the prefix.
        known: the prefix in each layer; empty if there is none.

    ``kept`` receives what becomes part of it, by layer.
    """

    block: int
    keep: int
    known: Sequence[KeysValues]
    kept: dict[int, KeysValues] = field(default_factory=dict)

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        tokens = query.shape[1]
        here = last_tokens(rotary, tokens)
        query, new = rotated(query, here), KeysValues(rotated(new.keys, here), new.values)
        if self.keep:
            self.kept[layer] = new.part(0, self.keep).copied()
        seen = self.known[layer].then(new) if self.known else new
        before = seen.tokens - tokens
        mixed = [
            attend(query[:, start : start + self.block], seen.part(0, before + start + self.block))
            for start in range(0, tokens, self.block)
        ]
        return torch.cat(mixed, dim=1)


@dataclass
class Forcing:
    """A denoising loop in which blocks of frames take their steps at different times.

    Args:
        times: the times of the frames in each step, ``(steps, frames)``.
        changes: which frames each step changes, ``(steps, frames)``.
        windows: the first frame of each step, and one after its last.
        block: how many frames are in a block.
        run: the run that it is for a cache.

    ``kept`` holds the prefix of each guidance branch by the number of its conditioning, and ``adapters`` is
    the sign of those that it was computed with.
    """

    times: Tensor
    changes: Tensor
    windows: Sequence[tuple[int, int]]
    block: int
    run: Run
    kept: dict[int, Kept] = field(default_factory=dict)
    adapters: Hashable = None
    conditionings: Conditionings = field(default_factory=Conditionings)
    _asked: dict[int, Needed] = field(default_factory=dict)
    _forgotten_at: int = -1
    _seen: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    _input: tuple[int, Tensor] | None = None

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for kept in self.kept.values())

    def step_of(self, row: object, latents: object, times: object) -> int | None:
        """The step that a call belongs to; None if the loop does not make it.

        All calls that the loop makes in a step have the same latents, and its times.

        Args:
            row: where the loop is, a row of its times.
            latents: the frames of the call.
            times: their times.
        """
        step = self._place(row)
        if step is None or not isinstance(latents, Tensor) or not self._are_of(step, times):
            return None
        if self._input is None or self._input[0] != step:
            self._input = step, latents.clone()
        return step if same_content(self._input[1], latents) else None

    def branch(self, given: Conditioning, step: int) -> int:
        """The number of a call's conditioning; drops what was computed before it was written in place.

        Tensors made in inference mode do not count what is written into them, so they are compared.
        """
        number = self.conditionings.number(given, step)
        tensors = {path: value for path, value in given.values.items() if isinstance(value, Tensor)}
        uncounted = {path: value for path, value in tensors.items() if value.is_inference()}
        seen = self._seen.get(number, {})
        if all(path in seen and same_content(seen[path], value) for path, value in uncounted.items()):
            return number
        if seen:
            self.kept.pop(number, None)
            self.run.forget(Reason.CONDITION_CHANGED)
            self.run.log.note(WRITTEN)
        self._seen[number] = {path: value.clone() for path, value in uncounted.items()}
        return number

    def follow(self, adapters: Hashable) -> None:
        """Drop what was computed with other adapters."""
        if adapters != self.adapters and self.kept:
            self.kept.clear()
            self.run.log.note(ADAPTERS)
        self.adapters = adapters

    def needed(self, step: int, branch: int, latents: Tensor, times: Tensor) -> Needed:
        """The frames that a call must compute.

        Args:
            step: the call's step.
            branch: the number of its conditioning.
            latents: the frames of its window, ``(batch, channels, frames, height, width)``.
            times: their times, ``(batch, frames)``.
        """
        first, end = self._changed(step)
        start = self.windows[step][0]
        needed = Needed(
            start, first, end, self._known(branch, start, latents[:, :, :first], times[:, :first])
        )
        before = self._asked.get(branch, needed)
        # Estimates are made of the same frames. Both branches of a step need others at once.
        if before != needed and self._forgotten_at != step:
            self.run.forget(Reason.FRAMES_CHANGED)
            self._forgotten_at = step
        self._asked[branch] = needed
        return needed

    def rule(self, branch: int, needed: Needed, tokens: int) -> Blockwise:
        """How a call's blocks attend, with so many tokens in a frame."""
        known = self.kept[branch].layers if needed.known else []
        return Blockwise(self.block * tokens, (needed.first - needed.known) * tokens, known)

    def keep(
        self, branch: int, needed: Needed, latents: Tensor, times: Tensor, new: list[KeysValues]
    ) -> None:
        """Add the new keys and values of a prefix, which is now known as a whole."""
        if needed.known:
            pairs = zip(self.kept[branch].layers, new, strict=True)
            new = [known.then(later) for known, later in pairs]
        # Clones, because the pipeline may write into its tensors.
        frames, their = latents[:, :, : needed.first].clone(), times[:, : needed.first].clone()
        self.kept[branch] = Kept(needed.start, frames, their, new)

    def _place(self, row: object) -> int | None:
        """The step whose times these are, told by their place in memory; None if they are others."""
        if not isinstance(row, Tensor) or row.device != self.times.device or row.dtype != self.times.dtype:
            return None
        place, rest = divmod(row.data_ptr() - self.times.data_ptr(), self.times[:1].nbytes)
        return place if rest == 0 and 0 <= place < len(self.times) else None

    def _are_of(self, step: int, times: object) -> bool:
        """Whether these are a step's times. Frames that no step changes may have others, with noise."""
        window = slice(*self.windows[step])
        row, changed = self.times[step, window], self.changes[:, window].any(dim=0)
        if not isinstance(times, Tensor) or times.shape[1:] != row.shape:
            return False
        return bool(((times == row) | ~changed.to(row.device)).all())

    def _changed(self, step: int) -> tuple[int, int]:
        """The first frame that a step changes and one after the last, in whole blocks."""
        start, end = self.windows[step]
        blocks = self.changes[step, start:end].reshape(-1, self.block).any(dim=1)
        numbers = blocks.nonzero().flatten().tolist()
        first, last = (numbers[0], numbers[-1]) if numbers else (0, len(blocks) - 1)
        return first * self.block, (last + 1) * self.block

    def _known(self, branch: int, start: int, prefix: Tensor, times: Tensor) -> int:
        """How many frames of a prefix are kept; what is not part of it any more is dropped."""
        kept = self.kept.get(branch)
        if kept is None:
            return 0
        moved = kept.start != start
        same = 0 if moved else kept.same_frames(prefix, times) // self.block * self.block
        if same == kept.frames:
            return same
        self.run.log.note(MOVED if moved else CHANGED)
        if same:
            self.kept[branch] = kept.first_frames(same)
        else:
            del self.kept[branch]
        return same
