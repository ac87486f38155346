"""A pipeline whose frames go elsewhere as they are decoded."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import Tensor

from skipstone.pipelines.vae.method_swap import swap_method
from skipstone.pipelines.vae.side import decoding
from skipstone.pipelines.vae.stream import stream_call

Take = Callable[[Tensor], None]
"""Takes frames, ``(frames, height, width, 3)``, values in [0, 1]."""


class StreamedCalls:
    """While it is entered, each video that a pipeline decodes goes to a function, piece by piece.

    The pipeline itself gets the last piece only, and returns that.

    Args:
        pipe: a pipeline that makes one video a call.
        chunk: how many latent frames to decode at a time; None for as many as fit.
        begin: called at the beginning of each video; returns what takes its frames.

    Raises:
        TypeError: the pipeline has no video autoencoder.
        ValueError: it does not turn decoded values into pictures by a video processor.
    """

    def __init__(self, pipe: Any, chunk: int | None, begin: Callable[[], Take]) -> None:
        if not hasattr(getattr(pipe, "video_processor", None), "postprocess_video"):
            raise ValueError(f"{type(pipe).__name__} has no video processor, so frames cannot be streamed")
        self._processor = pipe.video_processor
        self._vae = decoding(pipe).vae
        self._chunk = chunk
        self._begin = begin

    def __enter__(self) -> "StreamedCalls":
        self._undo = swap_method(self._vae, self._decode, "decode")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._undo()

    def _decode(self, latents: Tensor, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        from diffusers.models.autoencoders.vae import DecoderOutput

        self._undo()
        try:
            last = self._give(latents, args, kwargs)
        finally:
            self._undo = swap_method(self._vae, self._decode, "decode")
        return DecoderOutput(sample=last) if return_dict else (last,)

    def _give(self, latents: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Give all frames; returns the last piece."""
        chunk = None if self._chunk is None else min(self._chunk, latents.shape[2])
        take, last = self._begin(), None
        for last in stream_call(self._vae, chunk, latents, args, kwargs):
            take(self._processor.postprocess_video(last, output_type="pt")[0].permute(0, 2, 3, 1))
        assert last is not None
        return last
