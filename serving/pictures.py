"""Posters -> the pictures of a page: as they are, and as each preparation method makes them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from crawler.records import Reason
from dataloading.jpeg import shown_size
from dataloading.preprocess import Method, Preprocess, draw, effect
from dataloading.reference import ReferencePreparer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

METHODS: Final = {
    Method.RESIZE: "stretched to the square",
    Method.CENTER_CROP: "centre cut out",
    Method.PAD: "padded to a square",
    Method.RANDOM_CROP: "280 pixels cut at random from the padded poster",
}
"""The article's four methods."""
SIZE: Final = 224
TOP: Final = 3
"""Labels that are shown with a poster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A poster and what was said of it."""

    body: bytes | None
    """Encoded poster; None leaves the picture out."""
    title: str
    probabilities: Mapping[str, float]
    """Label -> probability, the likeliest first."""
    truth: str | None = None
    """Its true label, where known."""


def gallery(examples: Iterable[Example]) -> str:
    """Show posters with the likeliest labels under each."""
    return f'<ul class="posters">{"".join(_shown(example) for example in examples)}</ul>'


def methods(body: bytes, *, pictures: bool) -> str:
    """Show what the four preparation methods make of one poster, and say what each does to it.

    Args:
        body: Encoded poster.
        pictures: Whether to show it; the figures are given either way.
    """
    size = shown_size(body)
    if isinstance(size, Reason):
        return f"<p>The poster cannot be shown: {escape(size)}.</p>"
    height, width = size
    figures = [_figure(_data_uri(body), f"the poster, {height} x {width} pixels", f"as it is, {height} x {width}")]
    for method, words in METHODS.items():
        spec = Preprocess(method=method, size=SIZE)
        plan = draw(spec, height, width, seed=1)
        done = effect(plan, height, width, SIZE)
        share = f"{done.kept:.0%} of the poster seen, {done.padding:.0%} padding, distortion {done.distortion:.2f}"
        what = f"{method}: {words}; {share}"
        picture = _data_uri(_square(spec, body, plan_seed=1)) if pictures else ""
        figures.append(_figure(picture, f"the same poster, {words}", what))
    shown = figures if pictures else figures[1:]
    return f'<div class="methods">{"".join(shown)}</div>'


def _square(spec: Preprocess, body: bytes, plan_seed: int) -> bytes:
    """Return what a network would see of a poster, as a JPEG."""
    size = shown_size(body)
    plan = None if isinstance(size, Reason) else [draw(spec, *size, seed=plan_seed)]
    image = ReferencePreparer(spec).prepare([body], plan).images[0]
    levels = image.transpose(1, 2, 0) * np.array(spec.std) + np.array(spec.mean)
    stream = io.BytesIO()
    Image.fromarray((levels * 255).round().clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _shown(example: Example) -> str:
    likeliest = next(iter(example.probabilities), "no label")
    image = ""
    if example.body is not None:
        words = f"poster of {example.title}"
        image = f'<img src="{_data_uri(example.body)}" alt="{escape(words)}" loading="lazy">'
    truth = ""
    if example.truth is not None:
        kind, word = ("right", "right") if example.truth == likeliest else ("wrong", f"it is {example.truth}")
        truth = f'<span class="{kind}">{escape(word)}</span>'
    rows = "".join(
        f"<div>{escape(label)} {share:.0%}"
        f'<span class="meter" aria-hidden="true"><i style="width:{share:.0%}"></i></span></div>'
        for label, share in list(example.probabilities.items())[:TOP]
    )
    return f"<li>{image}<b>{escape(example.title)}</b> {truth}{rows}</li>"


def _figure(source: str, alt: str, caption: str) -> str:
    image = f'<img src="{source}" alt="{escape(alt)}">' if source else ""
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _data_uri(body: bytes) -> str:
    kind = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp", b"GI": "gif"}.get(body[:2], "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(body).decode()}"


def likeliest_first(vocabulary: Sequence[str], probabilities: Sequence[float]) -> dict[str, float]:
    """Name the probabilities of one poster, and order them.

    Example:
        >>> likeliest_first(["comedy", "horror"], [0.25, 0.75])
        {'horror': 0.75, 'comedy': 0.25}
    """
    named = zip(vocabulary, probabilities, strict=True)
    return dict(sorted(named, key=lambda pair: -pair[1]))
