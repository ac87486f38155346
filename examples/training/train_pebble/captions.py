"""Name every part of a scene in English, in a few phrasings."""

import random
from dataclasses import dataclass

MOTIONS = {
    "bounces": "bouncing",
    "slides left": "sliding left",
    "slides right": "sliding right",
    "spins": "spinning",
    "rolls": "rolling",
    "grows": "growing",
    "shrinks": "shrinking",
    "orbits": "orbiting",
    "falls": "falling",
    "shakes": "shaking",
}
COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 140, 20),
    "yellow": (250, 222, 60),
    "green": (50, 160, 70),
    "blue": (40, 90, 210),
    "purple": (130, 50, 170),
    "pink": (250, 150, 190),
    "brown": (115, 70, 35),
    "black": (16, 16, 18),
    "white": (250, 250, 250),
    "gray": (135, 135, 138),
    "teal": (20, 160, 165),
}
BACKGROUNDS = ("plain", "gradient", "striped", "checkered", "dotted")


@dataclass(frozen=True)
class Scene:
    """What a caption must say: the objects, the motion of each, and the background."""

    objects: tuple[str, ...]
    motions: tuple[str, ...]
    background: str
    colours: tuple[str, str]


def article(phrase: str) -> str:
    """The phrase behind its indefinite article."""
    return f"an {phrase}" if phrase[0] in "aeio" or phrase.startswith("umb") else f"a {phrase}"


def background_phrase(scene: Scene) -> str:
    """The background with its article: 'a blue to green gradient background'."""
    first, second = scene.colours
    if scene.background == "plain":
        return article(f"{first} background")
    if scene.background == "gradient":
        return article(f"{first} to {second} gradient background")
    return f"a {scene.background} {first} and {second} background"


def moving(scene: Scene, gerund: bool) -> str:
    """The objects with what each one does."""
    forms = [MOTIONS[motion] if gerund else motion for motion in scene.motions]
    return " and ".join(f"{article(name)} {form}" for name, form in zip(scene.objects, forms, strict=True))


def video_caption(scene: Scene, chooser: random.Random) -> str:
    """One of the phrasings of a moving scene."""
    background = background_phrase(scene)
    style = chooser.randrange(4)
    if style == 3:
        return f"{background} with {moving(scene, gerund=True)}"
    return f"{moving(scene, gerund=style == 1)} on {background}"


def image_caption(scene: Scene, chooser: random.Random) -> str:
    """One of the phrasings of a still scene."""
    objects = " and ".join(article(name) for name in scene.objects)
    background = background_phrase(scene)
    phrasings = ("{0} on {1}", "{0} on {1}", "{1} with {0}", "a picture of {0} on {1}")
    return chooser.choice(phrasings).format(objects, background)
