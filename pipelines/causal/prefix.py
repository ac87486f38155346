"""Frames that a Wan transformer sees before those that it is given, computed once."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skipstone.pipelines.causal.attention import Attend, KeysValues, Rotary, SelfAttentions
from skipstone.pipelines.causal.rotary import shift_frames
from skipstone.pipelines.causal.window import Chunk, Committed, Window
from skipstone.pipelines.model.compiled import compiles, written
from skipstone.pipelines.run.branches import CacheContexts

CLASS = "WanTransformer3DModel"

_prefixes: "weakref.WeakSet[Prefix]" = weakref.WeakSet()
"""Those that are not removed."""


def transformer_of(model: Any) -> nn.Module:
    """A Wan transformer, or that of a pipeline, as it is written.

    Raises:
        TypeError: there is none.
    """
    found = written(getattr(model, "transformer", model)) if hasattr(model, "__dict__") else model
    if type(found).__name__ != CLASS:
        raise TypeError(f"expected a {CLASS} or a pipeline that has one, got {type(model).__name__}")
    return found


class Prefix:
    """Committed frames that the calls of a Wan transformer inside `seen` see before their own.

    Other calls run as they are written, so that one model can be used otherwise between chunks, and several
    videos be made by turns.

    Args:
        model: the transformer.
        window: how many latent frames are kept; None for all.
        sink: how many first frames are never dropped, below ``window``.

    Raises:
        ValueError: a sink that is not below the window; or a model that is block-causal already, that is
            compiled as a whole, or whose attention is not diffusers' own.
    """

    everywhere: ClassVar[bool] = False
    """Whether calls outside of `seen` see the frames, too."""

    def __init__(self, model: nn.Module, window: int | None, sink: int) -> None:
        if window is not None and sink >= window:
            raise ValueError(f"expected a sink below the window of {window} frames, got {sink}")
        self._refuse(model)
        self._model, self._most, self._sink = model, window, sink
        self._windows: dict[str | None, Window] = {}
        self._attentions = SelfAttentions(model, self if self.everywhere else None)
        why = self._attentions.why_not
        if why is not None:
            self._attentions.remove()
            raise ValueError(f"the {CLASS} cannot be block-causal: {why}")
        self._contexts = CacheContexts(model)
        self._rope = shift_frames(model.rope, self._frames_before)
        _prefixes.add(self)

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Calls of the model inside, from this thread or task, see the frames."""
        with self._attentions.by(self):
            yield

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
        _prefixes.discard(self)

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        """The rule of calls that see the frames, as of `Rule`."""
        return Chunk(self._window).mixed(layer, query, new, rotary, attend)

    @property
    def _window(self) -> Window:
        """That of the present branch."""
        return self._windows.setdefault(self._contexts.name, Window(self._most, self._sink))

    def _refuse(self, model: nn.Module) -> None:
        for other in list(_prefixes):
            if other._model is model and (self.everywhere or other.everywhere):
                state = "is block-causal already; remove()" if other.everywhere else "makes a stream; close()"
                raise ValueError(f"the {CLASS} {state} that first")
        if compiles(model):
            raise ValueError(f"the {CLASS} is compiled as a whole: compile its blocks instead")
        config: Any = model.config
        if config.patch_size[0] != 1:
            raise ValueError(f"expected patches of one frame, got {config.patch_size[0]} frames")

    def _frames_before(self, latents: Tensor) -> int:
        if self._attentions.rule is None:
            return 0
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
