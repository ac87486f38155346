"""Wan transformers whose frames see committed frames before them, for the loops of causal models."""

from types import TracebackType
from typing import Any, ClassVar

from skipstone.declared import Natural, Positive, checked
from skipstone.pipelines.causal.prefix import Prefix, transformer_of


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
        ValueError: a window or a sink out of range; or a model that is block-causal already or makes a
            stream, that is compiled as a whole, or whose attention is not diffusers' own.
    """
    return BlockCausal(transformer_of(model), window, sink)


class BlockCausal(Prefix):
    """A Wan transformer all of whose calls are block-causal, until `remove`.

    Args:
        model: the transformer.
        window: how many latent frames are kept; None for all.
        sink: how many first frames are never dropped.
    """

    everywhere: ClassVar[bool] = True

    def __enter__(self) -> "BlockCausal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()
