"""Copies and pickles that are made while an autoencoder runs in chunks are of the autoencoder alone."""

import copy
import pickle
from typing import Any

import accelerate
import pytest
import torch

import skipstone
from support.vaes import Make, cosmos, decoded, error, latents, made, wan


@torch.no_grad()
def _scaled(vae: Any) -> Any:
    for weight in vae.parameters():
        weight.mul_(0.5)
    return vae


@pytest.mark.parametrize("make", [cosmos, wan])
def test_copies_and_pickles_decode_with_their_own_weights(make: Make) -> None:
    vae, video = made(make), latents(3)
    kinds = [type(part) for part in vae.modules()]
    wanted = decoded(_scaled(made(make)), video)
    with skipstone.decode_in_chunks(vae, 1) as handle:
        decoded(vae, video)
        handle.last_call = None
        for twin in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
            assert error(decoded(_scaled(twin), video), wanted) <= 1e-12
            assert [type(part) for part in twin.modules()] == kinds
        assert handle.last_call is None
    assert [type(part) for part in vae.modules()] == kinds


def test_a_copy_of_what_has_hooks_has_the_hooks_alone() -> None:
    vae, video = made(cosmos), latents(3)
    wanted = decoded(_scaled(made(cosmos)), video)
    for part in vae.decoder.modules():
        accelerate.hooks.add_hook_to_module(part, accelerate.hooks.ModelHook())
    held = {name: vars(part)["forward"] for name, part in vae.decoder.named_modules()}
    with skipstone.decode_in_chunks(vae, 1) as handle:
        decoded(vae, video)
        assert handle.last_call == skipstone.ChunkStats(3)
        handle.last_call = None
        twin = _scaled(copy.deepcopy(vae))
        assert error(decoded(twin, video), wanted) <= 1e-12
        assert handle.last_call is None
    assert {name: vars(part)["forward"] for name, part in vae.decoder.named_modules()} == held
    assert error(decoded(twin, video), wanted) <= 1e-12
