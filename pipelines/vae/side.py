"""One side of an autoencoder, and what is to be known of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.planning.conditions import digest
from skipstone.pipelines.vae.planner import EDGE
from skipstone.pipelines.vae.units import video_of

TRIED = 5
"""How many latent frames show what an autoencoder does around its decoder or encoder."""

RGB = 3
"""The channels of a video."""


@dataclass(frozen=True)
class Side:
    """One side of an autoencoder.

    Args:
        name: ``decode`` or ``encode``.
        vae: the autoencoder.
        coder: its decoder or encoder.
        channels: of its input.
        step: how many frames of its input belong to one latent frame, but for the first one.
        edge: the height and the width of the smallest input.
        others: other arguments that it needs.
    """

    name: str
    vae: Any
    coder: nn.Module
    channels: int
    step: int
    edge: int
    others: Sequence[Tensor] = ()

    @cached_property
    def kind(self) -> str:
        """The same for autoencoders that are built alike: what parts remember does not depend on weights."""
        return digest([type(self.vae).__name__, _config(self.vae), self.name])

    def frames(self, latent: int) -> int:
        """How many frames of its input belong to so many latent frames."""
        return 1 + (latent - 1) * self.step

    def run(self, video: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Decode or encode as the user does."""
        return getattr(self.vae, self.name)(video, *args, return_dict=False, **kwargs)[0]

    def dropped(self) -> int:
        """How many frames the autoencoder drops from the beginning of what its coder makes.

        Raises:
            TypeError: it cannot run a video.
        """
        made: list[int] = []
        hook = self.coder.register_forward_hook(lambda _, __, output: made.append(_frames(output)))
        try:
            with torch.no_grad():
                output = self.run(self._still(), *map(self.here, self.others))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError) as error:
            name = type(self.vae).__name__
            why = f"expected a video autoencoder, got {name}, which cannot {self.name} frames"
            raise TypeError(why) from error
        finally:
            hook.remove()
        # Where it goes over the video in several calls, it drops none of each.
        return made[0] - output.shape[2] if len(made) == 1 and isinstance(output, Tensor) else 0

    def _still(self) -> Tensor:
        shape = (1, self.channels, self.frames(TRIED), self.edge, self.edge)
        return self.here(torch.zeros(shape))

    def here(self, tensor: Tensor) -> Tensor:
        """A tensor with the device and the type that the coder's input has."""
        weight = next(self.coder.parameters())
        device = getattr(getattr(self.vae, "_hf_hook", None), "execution_device", None)
        if device is None:
            device = torch.device("cpu") if weight.is_meta else weight.device
        return tensor.to(device, weight.dtype)


def decoding(vae: Any) -> Side:
    """The side of an autoencoder, or of a pipeline's, that decodes.

    Raises:
        TypeError: there is no video autoencoder.
    """
    found = autoencoder_of(vae, "decoder")
    config = _config(found)
    channels = config.get("latent_channels", config.get("z_dim", config.get("z_channels")))
    if channels is None:
        raise TypeError(f"expected a video autoencoder or a pipeline that has one, got {type(vae).__name__}")
    others = (torch.full((1,), 0.05),) if config.get("timestep_conditioning") else ()
    return Side("decode", found, written(found.decoder), channels, 1, EDGE, others)


def encoding(vae: Any) -> Side:
    """The side of an autoencoder, or of a pipeline's, that encodes.

    Raises:
        TypeError: there is no video autoencoder, or it does not say how much it compresses.
    """
    found = autoencoder_of(vae, "encoder")
    names = ("temporal_compression_ratio", "spatial_compression_ratio")
    step, space = (_config(found).get(name) or getattr(found, name, None) for name in names)
    if step is None or space is None:
        raise TypeError(f"{type(found).__name__} does not say how much it compresses time and space")
    return Side("encode", found, written(found.encoder), RGB, step, EDGE * space)


def autoencoder_of(vae: Any, coder: str) -> Any:
    """An autoencoder, or that of a pipeline.

    Raises:
        TypeError: there is none.
    """
    found = getattr(vae, "vae", vae)
    if not isinstance(getattr(found, coder, None), nn.Module):
        raise TypeError(f"expected a video autoencoder or a pipeline that has one, got {type(vae).__name__}")
    return found


def _config(vae: Any) -> dict[str, Any]:
    """The configuration, without diffusers' notes on its origin."""
    return {key: value for key, value in dict(getattr(vae, "config", {})).items() if key[:1] != "_"}


def _frames(output: Any) -> int:
    video = video_of(output)
    return video.shape[2] if video.ndim == 5 else 0
