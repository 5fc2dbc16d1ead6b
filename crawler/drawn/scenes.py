"""Genre -> the scene of a poster.

A genre prefers its own scenes and moods and borrows its neighbours', so that no rule is sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crawler.drawn import people_scenes, place_scenes
from crawler.drawn.canvas import MOODS

if TYPE_CHECKING:
    from crawler.drawn.canvas import Canvas, Dice, Palette

SCENES: Final = {
    "Drama": (people_scenes.half_light, place_scenes.lone_tree, place_scenes.town),
    "Comedy": (people_scenes.grin, people_scenes.ensemble, people_scenes.party),
    "Action": (place_scenes.explosion, place_scenes.chase),
    "Documentary": (people_scenes.photograph, place_scenes.globe, people_scenes.halftone),
    "Horror": (place_scenes.haunted_house, people_scenes.skull, people_scenes.drips, place_scenes.dead_wood),
    "Crime": (people_scenes.blinds, people_scenes.gang),
    "Thriller": (people_scenes.eye, place_scenes.corridor, people_scenes.cracked),
    "Adventure": (place_scenes.mountains, place_scenes.voyage, place_scenes.ruin),
    "Romance": (people_scenes.sunset_couple, people_scenes.big_heart, people_scenes.two_faces),
    "Animation": (people_scenes.creatures, place_scenes.under_water),
}
"""Genre -> its own scenes; the ten genres are the real catalogue's ten largest."""

NEIGHBOURS: Final = {
    "Drama": ("Romance", "Documentary", "Crime"),
    "Comedy": ("Romance", "Animation", "Drama"),
    "Action": ("Adventure", "Thriller", "Crime"),
    "Documentary": ("Drama", "Adventure"),
    "Horror": ("Thriller", "Drama"),
    "Crime": ("Thriller", "Action", "Drama"),
    "Thriller": ("Horror", "Crime", "Action"),
    "Adventure": ("Action", "Animation", "Documentary"),
    "Romance": ("Comedy", "Drama"),
    "Animation": ("Comedy", "Adventure"),
}
"""Genre -> those whose scenes it borrows."""

BORROWED: Final = 0.16
"""Share of posters with a neighbour's scene: what no model can get right."""

MOOD_WEIGHTS: Final = {
    "Drama": {"earth": 3, "dusk": 3, "mono": 3, "day": 2, "night": 2, "neon": 1},
    "Comedy": {"candy": 4, "day": 4, "dusk": 2, "earth": 1, "mono": 1, "neon": 1},
    "Action": {"dusk": 3, "night": 3, "neon": 2, "blood": 2, "mono": 2, "earth": 1, "day": 1},
    "Documentary": {"mono": 3, "earth": 3, "day": 3, "dusk": 1, "night": 2},
    "Horror": {"night": 4, "blood": 3, "mono": 2, "dusk": 2, "earth": 1, "neon": 1},
    "Crime": {"mono": 3, "night": 3, "blood": 2, "earth": 2, "dusk": 2, "day": 1},
    "Thriller": {"night": 3, "mono": 3, "neon": 2, "blood": 2, "earth": 1, "dusk": 2},
    "Adventure": {"dusk": 3, "earth": 3, "day": 3, "night": 1, "neon": 1},
    "Romance": {"dusk": 3, "candy": 3, "day": 2, "earth": 2, "blood": 1, "mono": 1},
    "Animation": {"candy": 4, "day": 3, "neon": 2, "dusk": 2, "night": 1},
}
"""Genre -> how often each mood; they overlap, so that colour alone says little."""


def stage(canvas: Canvas, dice: Dice, genre: str) -> Palette:
    """Draw a scene for a genre and return the palette that it was drawn in."""
    source = dice.pick(NEIGHBOURS[genre]) if dice.chance(BORROWED) else genre
    palette = dice.pick(MOODS[dice.weighted(MOOD_WEIGHTS[genre])]).jittered(dice, 22)
    dice.pick(SCENES[source])(canvas, dice, palette)
    return palette
