"""Read the output of a block's self attention while the block runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from skipstone.pipelines.model.calls import Call
from skipstone.pipelines.model.outputs import floats_in
from skipstone.pipelines.model.own_thread import in_this_thread
from skipstone.pipelines.model.probes import is_attention, same_size
from skipstone.pipelines.model.trace import Place


def middle_block(parts: Sequence[nn.Module]) -> Place | None:
    """The middle block of a model's longest list; of the last such list if several are as long."""
    sizes = [len(part) if isinstance(part, nn.ModuleList) else 0 for part in parts]
    longest = max(sizes, default=0)
    if not longest:
        return None
    number = max(n for n, size in enumerate(sizes) if size == longest)
    return number, (longest - 1) // 2


@dataclass(frozen=True)
class WatchedCall(Call):
    """The call of a block whose first attention is watched. The block runs uncompiled.

    ``seen`` receives the attention's output for the main stream, or for text and image together if it attends
    to both jointly.
    """

    seen: list[Tensor] = field(default_factory=list)

    def run(self) -> Any:
        uncompiled: Any = self.block._call_impl
        note = in_this_thread(self._note)
        hooks = [part.register_forward_hook(note) for part in attentions_in(self.block)]
        try:
            return uncompiled(*self.args, **self.kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        note_attention(output, self.main(), self.seen)


def attentions_in(block: nn.Module) -> list[nn.Module]:
    """The attention layers of a block."""
    return [part for part in block.modules() if part is not block and is_attention(part)]


def watch_for_good(block: nn.Module, attended: Callable[[Any], None]) -> list[Any]:
    """Pass the outputs of a block's attentions to a function, compiled or not, until the hooks go."""

    def note(module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        attended(output)

    return [attention.register_forward_hook(note) for attention in attentions_in(block)]


def note_attention(output: Any, like: Tensor, seen: list[Tensor]) -> None:
    """Append to ``seen`` the output of a block's first attention for a stream of this size."""
    returned = list(floats_in(output))
    sized = [t.reshape(like.shape) for t in returned if same_size(t, like)]
    if not seen and returned:
        # Sorted, since the compiler cannot trace max() with a key.
        main = sized[0] if sized else sorted(returned, key=lambda t: -t.numel())[0]
        seen.append(main.detach().clone())
