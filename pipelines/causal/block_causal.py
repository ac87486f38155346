"""Wan transformers whose frames see committed frames before them, for the loops of causal models."""

import weakref
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.declared import Natural, Positive, checked
from skipstone.pipelines.causal.attention import Attend, KeysValues, Rotary, SelfAttentions
from skipstone.pipelines.causal.rotary import shift_frames
from skipstone.pipelines.causal.window import Chunk, Committed, Window
from skipstone.pipelines.model.compiled import compiles, written
from skipstone.pipelines.run.branches import CacheContexts

CLASS = "WanTransformer3DModel"

_causal: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""The transformers that are block-causal."""


@checked
def block_causal(model: Any, window: Positive | None = None, sink: Natural = 0) -> "BlockCausal":
    """Give a causal Wan transformer its clean prefix, computed once, exactly.

    Each call of the model is a chunk of frames that sees the committed frames and itself;
    `BlockCausal.commit` adds a clean chunk. This is for models that were trained so, such as those of
    Self-Forcing::

        with skipstone.block_causal(pipe.transformer, window=21, sink=3) as prefix:
            for chunk in chunks_of_noise:
                for t in timesteps:
                    velocity = pipe.transformer(chunk, t, text).sample
                    ...
                prefix.commit(chunk, 0, text)

    Calls in ``model.cache_context(name)`` see and commit the frames of that branch of guidance.

    Source: Ca2-VDM, arXiv:2411.16375, https://github.com/Dawn-LX/CausalCache-VDM; the window with a sink is
        that of Self-Forcing, arXiv:2506.08009, https://github.com/guandeh17/Self-Forcing.
    Difference: keys are kept before rotation and counted from the window's start, so that no position grows
        with the length of a video, and sink frames stay in front of the window.

    Args:
        model: a Wan transformer of diffusers, or a pipeline that has one.
        window: how many latent frames are kept, from 1; None for all.
        sink: how many first frames are never dropped, below ``window``.

    Returns:
        A handle. As a context manager it restores the model.

    Raises:
        TypeError: there is no Wan transformer.
        ValueError: a window or a sink out of range; or a model that is block-causal already, that is compiled
            as a whole, or whose attention is not diffusers' own.
    """
    found = written(getattr(model, "transformer", model)) if hasattr(model, "__dict__") else model
    if type(found).__name__ != CLASS:
        raise TypeError(f"expected a {CLASS} or a pipeline that has one, got {type(model).__name__}")
    if window is not None and sink >= window:
        raise ValueError(f"expected a sink below the window of {window} frames, got {sink}")
    _refuse(found)
    return BlockCausal(found, window, sink)


def _refuse(model: nn.Module) -> None:
    if model in _causal:
        raise ValueError(f"the {CLASS} is block-causal already; remove() that first")
    if compiles(model):
        raise ValueError(f"the {CLASS} is compiled as a whole: compile its blocks instead")
    config: Any = model.config
    if config.patch_size[0] != 1:
        raise ValueError(f"expected patches of one frame, got {config.patch_size[0]} frames")


class BlockCausal:
    """A Wan transformer that is block-causal, until `remove`.

    Args:
        model: the transformer.
        window: how many latent frames are kept; None for all.
        sink: how many first frames are never dropped.
    """

    def __init__(self, model: nn.Module, window: int | None, sink: int) -> None:
        self._model, self._most, self._sink = model, window, sink
        self._windows: dict[str | None, Window] = {}
        self._attentions = SelfAttentions(model, self)
        why = self._attentions.why_not
        if why is not None:
            self._attentions.remove()
            raise ValueError(f"the {CLASS} cannot be block-causal: {why}")
        self._contexts = CacheContexts(model)
        self._rope = shift_frames(model.rope, self._frames_before)
        _causal.add(model)

    @torch.no_grad()
    def commit(self, chunk: Tensor, timestep: Tensor | float, *args: Any, **kwargs: Any) -> None:
        """Add a clean chunk to the frames that later ones see.

        The model runs once on the chunk. If that fails, nothing is added.

        Args:
            chunk: the latents, ``(batch, channels, frames, height, width)``.
            timestep: the time that the model was trained to see clean frames at, such as 0; or a tensor as
                the model takes it.
            args: the model's further arguments, such as the text's embeddings.
            kwargs: those by name.

        Raises:
            ValueError: a batch or a size other than that of the frames before, or more frames than the
                model has positions for.
        """
        if not isinstance(timestep, Tensor):
            timestep = torch.full((len(chunk),), float(timestep), device=chunk.device)
        window = self._window
        rule = Committed(window)
        with self._attentions.by(rule):
            # Not by a call: a cache on the model has no part in this, which is no step of a run.
            self._model.forward(chunk, timestep, *args, **kwargs)
        window.add(rule.new, chunk.shape[2], _shape(chunk))

    @property
    def frames(self) -> int:
        """How many frames the present branch sees."""
        return self._window.frames

    @property
    def nbytes(self) -> int:
        """Bytes held for all branches."""
        return sum(window.nbytes for window in self._windows.values())

    def clear(self) -> None:
        """Forget all frames, for another video."""
        self._windows.clear()

    def remove(self) -> None:
        """Restore the model and forget all frames; a second call does nothing."""
        self._attentions.remove()
        self._contexts.restore()
        self._rope.undo()
        self.clear()
        _causal.discard(self._model)

    def __enter__(self) -> "BlockCausal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        """The rule of the model's own calls, as of `Rule`."""
        return Chunk(self._window).mixed(layer, query, new, rotary, attend)

    @property
    def _window(self) -> Window:
        """That of the present branch."""
        return self._windows.setdefault(self._contexts.name, Window(self._most, self._sink))

    def _frames_before(self, latents: Tensor) -> int:
        window = self._window
        config: Any = self._model.config
        if window.frames + latents.shape[2] > config.rope_max_seq_len:
            raise ValueError(
                f"expected at most {config.rope_max_seq_len} frames at once, got {latents.shape[2]} after "
                f"{window.frames}: give a window"
            )
        if window.frames and window.shape != _shape(latents):
            raise ValueError(
                f"expected frames of batch, height and width {window.shape} like those committed, got "
                f"{_shape(latents)}; clear() forgets the committed ones"
            )
        return window.frames


def _shape(latents: Tensor) -> tuple[int, int, int]:
    batch, _, _, height, width = latents.shape
    return batch, height, width
