"""Decoded posters on a device -> one batch of squares there, by matrix products.

The same filter as ``dataloading.kernels.taps``: each row of the square is a weighted sum of rows of the poster, and
each column one of columns. The weights of a batch are worked out on the device, from six numbers a poster and axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataloading.preprocess import Draw, Preprocess


def make_squares(spec: Preprocess, posters: Sequence[torch.Tensor], plans: Sequence[Draw]) -> torch.Tensor:
    """Carry out draws.

    Args:
        spec: What is wanted; bilinear.
        posters: uint8 ``[h, w, 3]`` each, RGB, on one device.
        plans: A draw for each of them; those that turn have frames of one size.

    Returns:
        float32 ``[b, 3, size, size]``, normalised, on that device.
    """
    device, size = posters[0].device, spec.size
    levels = torch.empty((len(plans), 3, size, size), device=device)
    for turned in (False, True):
        places = [place for place, plan in enumerate(plans) if bool(plan.angle) is turned]
        if places:
            some = _squares(spec, [posters[place] for place in places], [plans[place] for place in places], turned)
            levels[torch.tensor(places, device=device)] = some
    flips = torch.tensor([plan.flip for plan in plans], device=device)
    levels = torch.where(flips[:, None, None, None], levels.flip(3), levels)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (spec.mean, spec.std))
    return (levels / 255 - mean) / std


def _squares(spec: Preprocess, posters: list[torch.Tensor], plans: list[Draw], turned: bool) -> torch.Tensor:  # noqa: FBT001
    """Make levels of 0 to 255, not yet mirrored."""
    device = posters[0].device
    heights, widths = ([poster.shape[axis] for poster in posters] for axis in (0, 1))
    pixels = torch.zeros((len(posters), max(heights), max(widths), 3), dtype=torch.uint8, device=device)
    for place, poster in enumerate(posters):
        pixels[place, : poster.shape[0], : poster.shape[1]] = poster
    corners = [(0, 0) if turned else plan.window(spec.size) for plan in plans]
    rows, columns = (plans[0].frame_height, plans[0].frame_width) if turned else (spec.size, spec.size)
    down, grey_down = _weights(
        [(plan.top, plan.height, length, plan.frame_height, corner[0])
         for plan, length, corner in zip(plans, heights, corners, strict=True)],
        rows, max(heights), spec.antialias, device,
    )  # fmt: skip
    across, grey_across = _weights(
        [(plan.left, plan.width, length, plan.frame_width, corner[1])
         for plan, length, corner in zip(plans, widths, corners, strict=True)],
        columns, max(widths), spec.antialias, device,
    )  # fmt: skip
    flat = torch.bmm(down, pixels.flatten(2).float()) + spec.pad_value * grey_down[:, :, None]
    planes = flat.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)
    levels = planes @ across.transpose(1, 2)[:, None] + spec.pad_value * grey_across[:, None, None, :]
    return _turn(spec, levels, plans) if turned else levels


def _weights(
    axes: list[tuple[int, int, int, int, int]],
    size: int,
    longest: int,
    antialias: bool,  # noqa: FBT001
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Work out the weights of a batch along one axis.

    Args:
        axes: Of each poster: box start and length, poster length, frame length, and where the square begins in it.
        size: Of the output.
        longest: Of the posters.
        antialias: Widen the filter when shrinking.
        device: Where.

    Returns:
        float32 ``[b, size, longest]``, and the weight of the padding, float32 ``[b, size]``.
    """
    numbers = torch.tensor(axes, dtype=torch.float64, device=device)
    start, length, poster, frame, corner = (numbers[:, place, None] for place in range(5))
    scale = length / frame
    support = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    most = max(math.ceil(max(axis[1] / axis[3], 1.0)) if antialias else 1 for axis in axes)
    center = start + (corner + torch.arange(size, device=device) + 0.5) * scale
    low, high = torch.floor(center - support + 0.5), torch.floor(center + support + 0.5)
    at = low[:, :, None] + torch.arange(2 * most + 2, device=device)
    weights = (1 - (at + 0.5 - center[:, :, None]).abs() / support[:, :, None]).clamp(min=0)
    weights = weights * (at < high[:, :, None])
    first, last = start[:, :, None], (start + length - 1)[:, :, None]
    if antialias:  # as Pillow: what lies outside the cut has no weight
        weights = weights * ((at >= first) & (at <= last))
    else:  # the edge of the cut repeated
        at = torch.minimum(torch.maximum(at, first), last)
    weights = weights / weights.sum(2, keepdim=True)
    inside = (at >= 0) & (at < poster[:, :, None])
    padding = (weights * ~inside).sum(2)
    dense = torch.zeros((len(axes), size, longest), device=device)
    dense.scatter_add_(2, at.clamp(0, longest - 1).long(), (weights * inside).float())
    return dense, padding.float()


def _turn(spec: Preprocess, frames: torch.Tensor, plans: list[Draw]) -> torch.Tensor:
    """Rotate frames about their centres as Pillow does, and keep their windows."""
    device, size = frames.device, spec.size
    _, _, height, width = frames.shape
    top, left = plans[0].window(size)
    steps = torch.arange(size, dtype=torch.float64, device=device) + 0.5
    turn = torch.deg2rad(torch.tensor([plan.angle for plan in plans], dtype=torch.float64, device=device))[
        :, None, None
    ]
    down, right = (steps + top - height / 2)[:, None], (steps + left - width / 2)[None, :]
    y = turn.cos() * down + turn.sin() * right + height / 2
    x = turn.cos() * right - turn.sin() * down + width / 2
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y0, x0 = torch.floor(y - 0.5), torch.floor(x - 0.5)
    dy, dx = (y - 0.5 - y0).float()[:, None], (x - 0.5 - x0).float()[:, None]

    def corner(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        places = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
        return frames.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, 3, -1)).unflatten(2, (size, size))

    upper = torch.lerp(corner(y0, x0), corner(y0, x0 + 1), dx)
    lower = torch.lerp(corner(y0 + 1, x0), corner(y0 + 1, x0 + 1), dx)
    level = torch.floor(torch.lerp(upper, lower, dy))  # Pillow cuts the fraction off here
    return torch.where(within[:, None], level, torch.full_like(level, spec.pad_value))
