"""Compose scenes of moving sprites on the GPU, many at once, straight from the sprite atlas."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import BACKGROUNDS, COLOURS, MOTIONS, Scene
from motions import CLIP, Dance

SIDE = 128
FRAMES = 33
PAIR_SHARE = 0.25
BACKGROUND_SHARES = (0.65, 0.13, 0.08, 0.07, 0.07)


@dataclass
class Batch:
    """The drawn numbers of many scenes, one row each; a pair of sprites has two columns."""

    sprites: torch.Tensor
    motions: torch.Tensor
    paired: torch.Tensor
    sizes: torch.Tensor
    centres: torch.Tensor
    backgrounds: torch.Tensor
    colours: torch.Tensor
    shades: torch.Tensor

    def __getitem__(self, rows: slice | torch.Tensor) -> "Batch":
        return Batch(*(getattr(self, field.name)[rows] for field in fields(self)))


def load_atlas(path: Path, device: torch.device) -> tuple[torch.Tensor, list[str]]:
    """The sprites with colours multiplied by alpha, in [0, 1], and their names."""
    packed = np.load(path)
    atlas = torch.from_numpy(packed["sprites"]).to(device).permute(0, 3, 1, 2).float() / 255
    return atlas, packed["names"].tolist()


def draw_batch(count: int, sprites: int, generator: torch.Generator) -> Batch:
    """Draw the numbers of `count` scenes."""
    device = generator.device

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, device=device, generator=generator)

    paired = uniform() < PAIR_SHARE
    single_size, pair_size = 56 + 24 * uniform(1), 44 + 14 * uniform(2)
    middle = torch.full((2, 2), SIDE / 2, device=device)
    corners = torch.tensor([[38.0, 40.0], [90.0, 88.0]], device=device)
    centres = torch.where(paired[:, None, None], corners, middle) + 12 * (uniform(2, 2) - 0.5)
    shares = torch.tensor(BACKGROUND_SHARES, device=device).expand(count, -1)
    first = (uniform() * len(COLOURS)).long()
    second = (first + 1 + (uniform() * (len(COLOURS) - 1)).long()) % len(COLOURS)
    return Batch(
        sprites=(uniform(2) * sprites).long(),
        motions=(uniform(2) * len(MOTIONS)).long(),
        paired=paired,
        sizes=torch.where(paired[:, None], pair_size, single_size.expand(-1, 2)),
        centres=centres,
        backgrounds=torch.multinomial(shares, 1, generator=generator)[:, 0],
        colours=torch.stack([first, second], 1),
        shades=(uniform(2, 3) - 0.5) * 16 / 255,
    )


def describe(batch: Batch, names: list[str]) -> list[Scene]:
    """The scenes in words, for the captions."""
    motions, colours = list(MOTIONS), list(COLOURS)
    rows = zip(
        *(getattr(batch, key).tolist() for key in ("sprites", "motions", "paired", "backgrounds", "colours")),
        strict=True,
    )
    return [
        Scene(
            objects=tuple(names[i] for i in sprite[: 1 + pair]),
            motions=tuple(motions[i] for i in motion[: 1 + pair]),
            background=BACKGROUNDS[background],
            colours=(colours[colour[0]], colours[colour[1]]),
        )
        for sprite, motion, pair, background, colour in rows
    ]


def sprite_layer(
    batch: Batch, column: int, atlas: torch.Tensor, times: torch.Tensor, pixels: torch.Tensor, dance: Dance
) -> torch.Tensor:
    """One sprite of every scene at every time: premultiplied RGBA over the pixel grid (n, t, h, w, 2)."""
    rows = torch.arange(len(times), device=times.device)
    motions = batch.motions[:, column]
    path = dance.paths(times)[motions, rows]
    reach = torch.where(batch.paired, 0.45, 1.0)[:, None, None]
    centre = batch.centres[:, None, column] + path[..., :2] * reach
    radius = batch.sizes[:, column, None] * path[..., 3] / 2
    offset = pixels - centre[:, :, None, None]
    around = (offset + SIDE / 2) % SIDE - SIDE / 2
    returns = dance.returns(times.device)[motions][:, None, None, None, None]
    offset = torch.where(returns, around, offset) / radius[..., None, None, None]
    cos, sin = path[..., 2].cos()[..., None, None], path[..., 2].sin()[..., None, None]
    x, y = offset.unbind(-1)
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], -1).flatten(0, 1)
    images = atlas[batch.sprites[:, column]].repeat_interleave(times.shape[1], 0)
    return F.grid_sample(images, grid, align_corners=False).unflatten(0, times.shape)


def backdrop(batch: Batch, pixels: torch.Tensor) -> torch.Tensor:
    """The background of every scene (n, 3, h, w)."""
    palette = torch.tensor(list(COLOURS.values()), device=pixels.device) / 255
    first, second = (palette[batch.colours] + batch.shades)[..., None, None].clamp(0, 1).unbind(1)
    x, y = pixels[:, 0].unbind(-1)
    striped, banded = (x % 32 < 16).float(), (y % 32 < 16).float()
    dotted = (((x % 32 - 16) ** 2 + (y % 32 - 16) ** 2) < 81).float()
    weights = torch.stack([torch.zeros_like(x), y / SIDE, 1 - striped, (striped - banded).abs(), dotted], 1)
    weight = weights[torch.arange(len(x), device=x.device), batch.backgrounds][:, None]
    return first * (1 - weight) + second * weight


def pixel_grid(corners: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    """The middles of the pixels of square windows with these upper left corners (n, 1, h, w, 2)."""
    axis = torch.arange(side, device=corners.device) + 0.5
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1) + corners[:, None, None, None]


def draw(
    batch: Batch, atlas: torch.Tensor, times: torch.Tensor, pixels: torch.Tensor, dance: Dance = CLIP
) -> torch.Tensor:
    """Draw the scenes at `times` (n, t) where the pixels are: (n, 3, t, h, w) in [-1, 1]."""
    picture = backdrop(batch, pixels)[:, None]
    for column in range(2):
        layer = sprite_layer(batch, column, atlas, times, pixels, dance)
        layer = layer * (batch.paired if column else torch.ones_like(batch.paired))[:, None, None, None, None]
        picture = layer[:, :, :3] + picture * (1 - layer[:, :, 3:])
    return picture.transpose(1, 2) * 2 - 1


def render(batch: Batch, atlas: torch.Tensor, times: torch.Tensor, dance: Dance = CLIP) -> torch.Tensor:
    """Draw the whole scenes at `times` (n, t): (n, 3, t, h, w) in [-1, 1]."""
    return draw(batch, atlas, times, pixel_grid(times.new_zeros(len(times), 2)), dance)


def clip_times(count: int, device: torch.device, frames: int = FRAMES) -> torch.Tensor:
    """The times of clips' frames, from 0; at 1 a clip of `FRAMES` ends."""
    return (torch.arange(frames, device=device) / (FRAMES - 1)).expand(count, -1)
