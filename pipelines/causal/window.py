"""The frames that later ones see: their keys and values, in constant memory."""

from dataclasses import dataclass, field

from torch import Tensor

from skipstone.pipelines.causal.attention import Attend, KeysValues, Rotary, rotated
from skipstone.pipelines.causal.rotary import last_tokens


@dataclass
class Window:
    """Keys and values of the frames before a chunk, for one guidance branch.

    Keys are kept before rotation, and counted from the window's first frame, so that a window that rolls
    looks to later frames like one that does not.

    Args:
        most: how many frames are kept; None for all.
        sink: how many first frames are never dropped.

    ``frames`` are kept now, and ``shape`` is that of one of them, ``(batch, height, width)``.
    """

    most: int | None
    sink: int
    frames: int = 0
    shape: tuple[int, int, int] | None = None
    _layers: list[KeysValues] = field(default_factory=list)
    _placed: dict[int, KeysValues] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        turned = sum(placed.keys.nbytes for placed in self._placed.values())
        return turned + sum(layer.nbytes for layer in self._layers)

    def placed(self, layer: int, rotary: Rotary) -> KeysValues | None:
        """A layer's rotated keys, and its values; None if nothing is kept. Rotated once for each commit."""
        if not self.frames:
            return None
        if layer not in self._placed:
            kept = self._layers[layer]
            cos, sin = rotary
            first = cos[:, : kept.tokens], sin[:, : kept.tokens]
            self._placed[layer] = KeysValues(rotated(kept.keys, first), kept.values)
        return self._placed[layer]

    def add(self, new: list[KeysValues], frames: int, shape: tuple[int, int, int]) -> None:
        """Keep a chunk, and drop what the window has no place for."""
        tokens, self.shape = new[0].tokens // frames, shape
        self._placed.clear()
        for layer, later in enumerate(new):
            kept = self._layers[layer].then(later) if self.frames else later.copied()
            self._layers[layer : layer + 1] = [self._rolled(kept, tokens)]
        self.frames = self._layers[0].tokens // tokens

    def _rolled(self, kept: KeysValues, tokens: int) -> KeysValues:
        if self.most is None or kept.tokens <= self.most * tokens:
            return kept
        rolling = kept.part(kept.tokens - (self.most - self.sink) * tokens, None)
        return kept.part(0, self.sink * tokens).then(rolling) if self.sink else rolling.copied()


@dataclass
class Chunk:
    """Let new frames attend to a window and to themselves.

    Args:
        window: the frames before them.
    """

    window: Window

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        here = last_tokens(rotary, query.shape[1])
        before, own = self.window.placed(layer, rotary), KeysValues(rotated(new.keys, here), new.values)
        return attend(rotated(query, here), own if before is None else before.then(own))


@dataclass
class Committed(Chunk):
    """Do so, and collect the frames' own keys and values in ``new``, layer by layer."""

    new: list[KeysValues] = field(default_factory=list)

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        self.new.append(new)
        return super().mixed(layer, query, new, rotary, attend)
