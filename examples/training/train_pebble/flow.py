"""Rectified flow: noise a latent, and the velocity to be predicted, as the Euler scheduler expects it."""

import torch

UNIFORM_SHARE = 0.15


def draw_sigmas(count: int, shift: float, device: torch.device) -> torch.Tensor:
    """Logit-normal noise levels with some uniform ones, shifted like the scheduler's."""
    normal = torch.randn(count, device=device).sigmoid()
    level = torch.where(
        torch.rand(count, device=device) < UNIFORM_SHARE, torch.rand(count, device=device), normal
    )
    return shift * level / (1 + (shift - 1) * level)


def noised(latents: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The latents mixed with noise, and the velocity from latents to noise."""
    noise = torch.randn_like(latents)
    sigma = sigmas.view(-1, *[1] * (latents.ndim - 1))
    return (1 - sigma) * latents + sigma * noise, noise - latents
