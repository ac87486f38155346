"""A model's present weights: a statistic of each tensor, the same on every device."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from skipstone.pipelines.planning.put_away import weights_of

WORD = 8
"""How many bytes one word has."""

LOOKED_AT = 64
"""How many words of a tensor are kept one by one, at random positions."""

CLASSES = 13
"""No usual length of a row is a multiple of it."""

GLIMPSE = 1024
"""How many words show whether a tensor that waits on another device was changed."""

Words = Callable[[int, torch.device], Tensor]


class Sign(NamedTuple):
    """What shows that a tensor was changed.

    Args:
        dtype: its type.
        shape: its shape.
        words: the sums of every `CLASSES`-th word, and the words that are left over; of one that waits on
            another device, some words. As bytes, which are compared at once.
    """

    dtype: torch.dtype
    shape: torch.Size
    words: bytes


_known: "WeakKeyDictionary[nn.Module, dict[int, tuple[Sign, list[Any]]]]" = WeakKeyDictionary()
"""The sign of each of a model's tensors when it was last read, and what was read."""


def statistics(model: nn.Module, home: torch.device | None = None) -> list[list[Any]]:
    """For each parameter and saved buffer: its type, its shape, the sum of its words, and some of its words.

    Words are summed as whole numbers, so the sum is exact in any order: moving a model keeps its statistics,
    and changing a single value changes them. Values that exchange their places in one tensor, or of which one
    gains what another loses, are seen only among the words that are kept. All bytes are read, on their
    device. Of a tensor whose sign is that of the last time, what was read then is given again: where nothing
    changed this takes one kernel a tensor, and one wait for the device. A tensor that was moved has another
    sign; it alone is read again.

    Args:
        model: the model, as it is written.
        home: where it computes; None for where its weights are. Offloaded weights wait elsewhere, and before
            each run only some words of them are looked at: the host takes long to read them all.
    """
    tensors = [plain for one in weights_of(model) for plain in stored(one)]
    known, now = _known.setdefault(model, {}), signs(tensors, home)
    changed = [n for n, sign in enumerate(now) if n not in known or known[n][0] != sign]
    read = statistics_of([tensors[n] for n in changed])
    known.update((n, (now[n], its)) for n, its in zip(changed, read, strict=True))
    return [known[n][1] for n in range(len(tensors))]


def statistics_of(tensors: Sequence[Tensor]) -> list[list[Any]]:
    """What `statistics` reads, of some plain tensors."""
    places = cache(_places)
    read = _fetched([_whole(tensor, places) if _has_values(tensor) else None for tensor in tensors])
    return [
        [str(one.dtype), list(one.shape), read[n].tolist() if n in read else []]
        for n, one in enumerate(tensors)
    ]


def signs(tensors: Sequence[Tensor], home: torch.device | None = None) -> list[Sign]:
    """The sign of each tensor: one kernel a tensor.

    Torch does not count changes through ``data``, by which adapters are fused and averages are copied. Exact
    sums show them; that there are several shows rows that were exchanged. An adapter changes most words of a
    tensor, so some words show one where sums would take too long. Where few words change of a large
    tensor that waits elsewhere, this is seen when it is next read whole.

    Args:
        tensors: plain tensors.
        home: as for `statistics`.
    """
    looks = [_glimpse if _waits(tensor, home) else _sums for tensor in tensors]
    read = _fetched([part for look, tensor in zip(looks, tensors, strict=True) for part in look(tensor)])
    words = [read[n].numpy().tobytes() if n in read else b"" for n in range(2 * len(tensors))]
    return [Sign(one.dtype, one.shape, words[2 * n] + words[2 * n + 1]) for n, one in enumerate(tensors)]


def _waits(tensor: Tensor, home: torch.device | None) -> bool:
    """Whether a tensor was offloaded."""
    return home is not None and tensor.device.type == "cpu" != home.type


def _sums(tensor: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The sums of every `CLASSES`-th word, and the words that are left over; none without values."""
    if not _has_values(tensor):
        return None, None
    words = _bits(tensor)
    whole = len(words) - len(words) % CLASSES
    return words[:whole].view(-1, CLASSES).sum(0), words[whole:]


def _glimpse(tensor: Tensor) -> tuple[Tensor | None, None]:
    """Some of a tensor's words, at random places; none without values."""
    return (_some(tensor, _glimpsed), None) if _has_values(tensor) else (None, None)


def _whole(tensor: Tensor, places: Words) -> Tensor:
    """The sum of a tensor's words, and some of them. The host sums all in a row faster than every few."""
    words = _bits(tensor)
    return torch.cat([words.sum().view(1), words.index_select(0, places(len(words), words.device))])


def stored(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors inside a tensor, with the scales of quantised numbers."""
    if hasattr(tensor, "__tensor_flatten__"):
        inner = (getattr(tensor, name) for name in tensor.__tensor_flatten__()[0])
        # A tensor that is spread over processes also holds their mesh.
        yield from (one for part in inner if isinstance(part, Tensor) for one in stored(part))
        return
    yield tensor
    yield from _scales(tensor)


def _scales(quantised: Any) -> Iterator[Tensor]:
    """What a quantised tensor, or the state of one, is scaled by; bitsandbytes scales scales too."""
    for name, value in vars(quantised).items():
        if isinstance(value, Tensor):
            yield value
        elif name in ("quant_state", "state2") and value is not None:
            yield from _scales(value)


def _has_values(tensor: Tensor) -> bool:
    return tensor.device.type != "meta" and tensor.numel() > 0


def _some(tensor: Tensor, places: Words) -> Tensor:
    """Some of a tensor's words."""
    words = _bits(tensor)
    return words.index_select(0, places(len(words), words.device))


def _bits(tensor: Tensor) -> Tensor:
    """A tensor's bytes as whole numbers of eight bytes."""
    plain = tensor.detach().as_subclass(Tensor)
    plain = plain.int_repr() if plain.is_quantized else plain
    flat = plain.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    if len(flat) % WORD:
        flat = nn.functional.pad(flat, (0, -len(flat) % WORD))
    return (flat.clone() if flat.storage_offset() % WORD else flat).view(torch.int64)


def _places(count: int, device: torch.device, most: int = LOOKED_AT) -> Tensor:
    """Which words are kept: all if there are few, otherwise always the same ones."""
    if count <= most:
        return torch.arange(count, device=device)
    source = torch.Generator().manual_seed(count)
    return torch.randint(count, (most,), generator=source, device="cpu").to(device)


_glimpsed = lru_cache(maxsize=64)(partial(_places, most=GLIMPSE))
"""The words that are looked at, kept for the lengths that a model's tensors have."""


def _fetched(read: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Fetch all tensors to the host, from each device in one copy."""
    present = {n: one for n, one in enumerate(read) if one is not None}
    found: dict[int, Tensor] = {}
    for device in {one.device for one in present.values()}:
        here = {n: one for n, one in present.items() if one.device == device}
        together = torch.cat(list(here.values())).cpu()
        parts = torch.split(together, [len(one) for one in here.values()])
        found.update(zip(here, parts, strict=True))
    return found
