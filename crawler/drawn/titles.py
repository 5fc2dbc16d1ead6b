"""Genre -> the title of a movie that does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crawler.drawn.canvas import Dice

NOUNS: Final = {
    "Drama": ("Harvest", "Winter", "Orchard", "Letter", "Silence", "River", "Daughter", "Promise"),
    "Comedy": ("Wedding", "Cousin", "Vacation", "Roommate", "Sandwich", "Neighbour", "Reunion", "Parrot"),
    "Action": ("Strike", "Vengeance", "Protocol", "Thunder", "Convoy", "Outlaw", "Bullet", "Fury"),
    "Documentary": ("Glacier", "Archive", "Engine", "Witness", "Planet", "Harbour", "Language", "Machine"),
    "Horror": ("Cellar", "Whisper", "Coven", "Grave", "Doll", "Hollow", "Scream", "Nightfall"),
    "Crime": ("Heist", "Verdict", "Informer", "Alibi", "Racket", "Witness", "Debt", "Detective"),
    "Thriller": ("Stranger", "Silence", "Corridor", "Signal", "Witness", "Mirror", "Deadline", "Nightfall"),
    "Adventure": ("Voyage", "Island", "Treasure", "Summit", "River", "Compass", "Kingdom", "Storm"),
    "Romance": ("Kiss", "Summer", "Letter", "Waltz", "Promise", "Wedding", "Garden", "Paris"),
    "Animation": ("Dragon", "Penguin", "Robot", "Balloon", "Kingdom", "Parrot", "Moon", "Monster"),
}
"""Several words stand in more than one genre, as they do on real posters."""

BEFORE: Final = (
    *("Last", "Silent", "Broken", "Golden", "Crooked", "Second", "Lost", "Midnight"),
    *("Distant", "Wild", "Paper", "Burning", "Little", "Hidden", "Secret", "Endless"),
)
AFTER: Final = (
    "of Glass",
    "in the Rain",
    "at Noon",
    "of Ashes",
    "for Two",
    "Beyond the Sea",
    "in Winter",
    "of Mr. O'Hara",
)


def movie_title(dice: Dice, genre: str) -> str:
    """Make up a title for a genre."""
    noun = dice.pick(NOUNS[genre])
    before = dice.pick(BEFORE)
    form = dice.whole(0, 4)
    if form == 0:
        return f"The {before} {noun}"
    if form == 1:
        return f"{before} {noun}"
    if form == 2:  # noqa: PLR2004 - the forms are numbered
        return f"The {noun} {dice.pick(AFTER)}"
    return f"{before} {noun} {dice.pick(AFTER)}" if dice.chance(0.5) else f"{noun} {dice.pick(AFTER)}"


def collection_name(title: str) -> str:
    """Return the name of the collection that begins with a movie."""
    return f"{title} Collection"
