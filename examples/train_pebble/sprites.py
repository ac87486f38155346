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
    "🌂🌈🌊🌋🌞🌧🌩🌭🌮🌯🌱🌲🌳🌴🌵🌶🌸🌹🌻🌽🍀🍁🍄🍅🍆🍇🍉🍊🍋🍌🍍🍎🍐🍑🍒🍓🍔🍕🍝🍞🍟🍣🍤🍦🍨🍩🍪🍫🍬🍭"
    "🍯🍰🍳🍸🍹🍺🍼🍿🎁🎂🎃🎄🎈🎡🎤🎩🎪🎯🎱🎲🎵🎷🎸🎺🎻🏀🏆🏈🏐🏔🏝🏠🏮🏰🐅🐇🐈🐊🐋🐌🐍🐎🐑🐒🐓🐕🐖🐘🐙🐚"
    "🐞🐟🐠🐢🐤🐦🐧🐨🐪🐬🐮🐯🐰🐱🐴🐵🐶🐷🐸🐻🐼👑👕👖👗👛👟👠👻👽👾💀💊💍💎💐💔💙💚💛💜💡💣💥💧💩💰💼💾📁"
    "📕📗📘📙📣📱📷📺📻🔋🔌🔍🔑🔒🔔🔥🔦🔧🔨🔪🔮🔴🔵🔷🔺🕯🕶🕷🖌🖍🖱🗼🗿😀😂😈😎😡😢🚀🚁🚂🚄🚌🚑🚒🚓🚕🚗🚙"
    "🚚🚜🚢🚤🚦🚪🚲🚽🛒🛞🛟🛡🛢🛴🛷🛸🛹🟠🟡🟢🟣🟤🟥🟦🟨🟩🟪🟫🤍🤎🤖🤠🤡🥁🥄🥇🥊🥐🥑🥒🥔🥕🥚🥛🥝🥞🥤🥥🥦🥧"
    "🥨🥩🥪🥭🦀🦁🦅🦆🦇🦈🦉🦊🦋🦌🦍🦎🦑🦒🦓🦔🦖🦘🦚🦜🦝🦞🦢🦣🦩🦴🦷🧀🧁🧄🧋🧠🧡🧢🧣🧦🧩🧭🧯🧲🧶🧸🧺🪀🪁🪃"
    "🪐🪑🪓🪙🪜🪣🪶🪷🫐🫑🫖☀☁☂☎☕☘♠♣⚓⚔⚙⚪⚫⚽⚾⛄⛪⛵⛺✂✈✉✏❄❤⭐⚡"
)

RENAMED = {
    "athletic shoe": "sneaker",
    "aubergine": "eggplant",
    "automobile": "red car",
    "ball of yarn": "yarn ball",
    "basketball and hoop": "basketball",
    "billiards": "eight ball",
    "black club suit": "club",
    "black scissors": "pair of scissors",
    "black spade suit": "spade",
    "black sun with rays": "sun",
    "black telephone": "telephone",
    "blueberries": "bunch of blueberries",
    "cheering megaphone": "megaphone",
    "cherries": "pair of cherries",
    "collision symbol": "explosion",
    "cooking": "fried egg",
    "crossed swords": "pair of swords",
    "cup with straw": "soda cup",
    "cut of meat": "steak",
    "dark sunglasses": "pair of sunglasses",
    "direct hit": "target",
    "dromedary camel": "camel",
    "drum with drumsticks": "drum",
    "ear of maize": "corn cob",
    "electric light bulb": "light bulb",
    "electric plug": "plug",
    "electric torch": "flashlight",
    "european castle": "castle",
    "extraterrestrial alien": "alien",
    "face with cowboy hat": "cowboy face",
    "face with tears of joy": "laughing face",
    "first place medal": "gold medal",
    "french fries": "pack of french fries",
    "gem stone": "diamond",
    "glass of milk": "milk glass",
    "grapes": "bunch of grapes",
    "heavy black heart": "red heart",
    "high voltage sign": "lightning bolt",
    "high-speed train": "train",
    "hocho": "kitchen knife",
    "hot beverage": "coffee cup",
    "house building": "house",
    "izakaya lantern": "red lantern",
    "jack-o-lantern": "pumpkin",
    "jeans": "pair of jeans",
    "jigsaw puzzle piece": "puzzle piece",
    "lady beetle": "ladybug",
    "left-pointing magnifying glass": "magnifying glass",
    "lower left crayon": "crayon",
    "lower left paintbrush": "paintbrush",
    "medium black circle": "black circle",
    "medium white circle": "white circle",
    "oil drum": "oil barrel",
    "pancakes": "stack of pancakes",
    "pile of poo": "poo",
    "pouting face": "red angry face",
    "recreational vehicle": "blue car",
    "shopping trolley": "shopping cart",
    "slice of pizza": "pizza slice",
    "smiling face with horns": "devil face",
    "smiling face with sunglasses": "sunglasses face",
    "snow capped mountain": "snowy mountain",
    "snowman without snow": "snowman",
    "socks": "pair of socks",
    "soft ice cream": "ice cream cone",
    "spiral shell": "shell",
    "steam locomotive": "locomotive",
    "sun with face": "sun face",
    "three button mouse": "computer mouse",
    "tokyo tower": "tower",
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
