"""The embedded default's world: posters that are drawn, and a raw catalogue of movies that do not exist."""

from __future__ import annotations

from crawler.drawn.poster import GENRES, draw_poster
from crawler.drawn.world import DrawnWorld, draw_world

__all__ = ["GENRES", "DrawnWorld", "draw_poster", "draw_world"]
