"""Draw the chosen glyphs of Noto Color Emoji and pack them, with their names, into one file."""

import argparse
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
STRIKE = 109  # the only size at which the font carries bitmaps
SIDE = 96

GLYPHS = (
    "🌈🌭🌲🌴🌵🌶🌹🌻🌽🍁🍄🍆🍇🍉🍋🍌🍍🍎🍐🍑🍒🍓🍔🍕🍟🍦🍩🍭🍺🍿🎁🎂🎃🎄🎈🎩🎯🎱🎵🎸🏀🏆🏈🏠🏰🐋🐌🐍"
    "🐎🐑🐓🐘🐙🐞🐟🐢🐤🐧🐨🐬🐮🐯🐰🐱🐵🐶🐷🐸🐻🐼👑👕👗👟👻👽👾💀💎💙💚💜💡💣💧📗📘📷📺🔋🔑🔒🔔🔥🔨🔴"
    "🔵🔺🕷🗿😀😈😎😡🚀🚁🚂🚌🚒🚕🚗🚙🚜🚢🚦🚲🛟🛸🟡🟢🤖🤡🥐🥑🥕🥝🥥🥦🥨🦀🦁🦆🦇🦈🦉🦊🦋🦒🦓🦖🦜🦩🧀🧁"
    "🧢🧩🧲🧸🪁🪐🪑🫖☀☁☂☎☕⚓⚽⛄⛵✈✏❄❤⭐⚡"
)

RENAMED = {
    "athletic shoe": "sneaker",
    "aubergine": "eggplant",
    "automobile": "red car",
    "basketball and hoop": "basketball",
    "billiards": "eight ball",
    "black sun with rays": "sun",
    "black telephone": "telephone",
    "cherries": "pair of cherries",
    "direct hit": "target",
    "ear of maize": "corn cob",
    "electric light bulb": "light bulb",
    "european castle": "castle",
    "extraterrestrial alien": "alien",
    "french fries": "pack of french fries",
    "gem stone": "diamond",
    "grapes": "bunch of grapes",
    "heavy black heart": "red heart",
    "high voltage sign": "lightning bolt",
    "hot beverage": "coffee cup",
    "house building": "house",
    "jack-o-lantern": "pumpkin",
    "jigsaw puzzle piece": "puzzle piece",
    "lady beetle": "ladybug",
    "pouting face": "red angry face",
    "recreational vehicle": "blue car",
    "slice of pizza": "pizza slice",
    "smiling face with horns": "devil face",
    "smiling face with sunglasses": "sunglasses face",
    "snowman without snow": "snowman",
    "soft ice cream": "ice cream cone",
    "steam locomotive": "locomotive",
    "up-pointing red triangle": "red triangle",
    "vertical traffic light": "traffic light",
    "white medium star": "yellow star",
    "wrapped present": "present",
}


def object_name(glyph: str) -> str:
    """The caption's name of a glyph: its Unicode name, shortened by rule or by the table."""
    name = unicodedata.name(glyph).lower()
    name = RENAMED.get(name, name)
    return name.removeprefix("large ")


def draw(glyph: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One glyph, cropped to what is drawn and centred in a square, as RGBA."""
    canvas = Image.new("RGBA", (STRIKE * 2, STRIKE * 2))
    ImageDraw.Draw(canvas).text((STRIKE // 4, STRIKE // 4), glyph, font=font, embedded_color=True)
    drawn = canvas.crop(canvas.getbbox())
    square = Image.new("RGBA", (max(drawn.size) + 2,) * 2)
    square.paste(drawn, ((square.width - drawn.width) // 2, (square.height - drawn.height) // 2))
    return np.asarray(square.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def pack(font_path: Path, target: Path) -> list[str]:
    """Write the premultiplied sprites and their names; return the names."""
    font = ImageFont.truetype(str(font_path), STRIKE)
    sprites = {object_name(glyph): draw(glyph, font) for glyph in GLYPHS}
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, sprites=np.stack(list(sprites.values())), names=np.array(list(sprites)))
    return list(sprites)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--out", type=Path, default=Path(".pebble/sprites.npz"))
    arguments = parser.parse_args()
    print(f"packed {len(pack(arguments.font, arguments.out))} sprites into {arguments.out}")
