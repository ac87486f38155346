"""Whether chunks give the whole at the size of a real video, tried once for each size."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.model.outputs import alike
from skipstone.pipelines.vae.device_memory import give_back

TRIED = 2
"""How many latent frames of a real video are run whole, too."""

OTHERWISE = "chunks of this size gave another video"
"""Why a video is run whole where they do not."""

_verdicts: dict[Hashable, bool] = {}


def size_of(kind: str, video: Tensor, *others: Any) -> Hashable:
    """What a verdict holds for.

    Args:
        kind: of the decoder or encoder.
        video: its input.
        others: its other arguments; of tensors only their shape counts.
    """
    shapes = [one.shape if isinstance(one, Tensor) else repr(one) for one in others]
    return kind, video.shape[3:], video.dtype, video.device, tuple(shapes)


def is_right(size: Hashable, ours: Callable[[], Tensor], whole: Callable[[], Tensor]) -> bool:
    """Whether both give the same few frames, up to rounding; where memory does not suffice to know, yes."""
    if size not in _verdicts:
        try:
            _verdicts[size] = _same(ours(), whole())
        except torch.OutOfMemoryError:
            # Then the whole video is out of question.
            _verdicts[size] = True
            give_back()
    return _verdicts[size]


def _same(ours: Tensor, whole: Tensor) -> bool:
    """Whether two videos are equal up to rounding."""
    narrow = computed_in(whole.dtype, whole.device)
    return alike(ours.to(narrow), whole.to(narrow))


def computed_in(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision to which equal sums are equal.

    Some norms compute in float32 whatever is asked for. Of float32, some of CUDA's convolutions keep ten bits
    (TF32), as many as float16 has; whether one does depends on its shape.
    """
    if dtype is torch.float64:
        return torch.float32
    return torch.float16 if dtype is torch.float32 and device.type == "cuda" else dtype
