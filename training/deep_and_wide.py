"""Two trunks -> one network: the article's Deep-and-Wide ResNet, the only architecture that is ours.

A plain and a wide ResNet each see the poster through a small stem of their own; their maps are concatenated, mixed by
one more convolution and classified. The interface is timm's, so that what takes a timm network takes this one too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

MIXED_CHANNELS: Final = 512
"""Of the convolution over both trunks' maps: as many as a ResNet18 ends with."""
FLOOR: Final = -4.0
"""Where the ReLU of a stem that begins as the identity has its corner. No normalised image goes below -2.2, so nothing
is cut off at the start; with the corner at 0 the trunks would be blind to everything darker than the mean."""


class Stem(nn.Module):
    """A 3x3 convolution with batch norm and ReLU in front of a trunk, three channels to three."""

    def __init__(self, *, identity: bool) -> None:
        """Make it.

        Args:
            identity: Begin as the identity: what a pretrained trunk sees is then what it was trained on (but for batch
                norm's epsilon when evaluating; when training, batch norm standardises each batch). Otherwise all of
                it is random, and ReLU has its corner at 0.
        """
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.floor = FLOOR if identity else 0.0
        if identity:
            nn.init.dirac_(self.conv.weight)
        else:
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float [b, 3, h, w] to the same shape."""
        return self.norm(self.conv(images)).clamp_min(self.floor)


class DeepAndWide(nn.Module):
    """Two trunks behind stems of their own, their maps concatenated, mixed and classified.

    Source: the article; "inspired by the Wide & Deep model for recommender systems" (Cheng et al., arXiv 1606.07792).
    """

    def __init__(self, deep: nn.Module, wide: nn.Module, classes: int, *, identity: bool, drop_rate: float) -> None:
        """Put two timm trunks together.

        Args:
            deep: A timm network without head.
            wide: Another whose maps have the same height and width.
            classes: Number of logits.
            identity: See ``Stem``.
            drop_rate: Dropout before the classifier.
        """
        super().__init__()
        parts: list[Any] = [deep, wide]
        channels = sum(int(part.num_features) for part in parts)
        self.deep_stem, self.deep = Stem(identity=identity), deep
        self.wide_stem, self.wide = Stem(identity=identity), wide
        self.mix = nn.Conv2d(channels, MIXED_CHANNELS, 3, padding=1)
        nn.init.kaiming_normal_(self.mix.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType] - it has one
        self.global_pool = SelectAdaptivePool2d(pool_type="avg", flatten=True)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(MIXED_CHANNELS, classes)
        self.num_classes, self.num_features = classes, MIXED_CHANNELS
        self.pretrained_cfg: Mapping[str, Any] = {"classifier": "fc"}

    def get_classifier(self) -> nn.Linear:
        """Give the last layer."""
        return self.fc

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Map float [b, 3, h, w] to mixed maps [b, 512, h / 32, w / 32]."""
        deep: Any = self.deep
        wide: Any = self.wide
        maps = (deep.forward_features(self.deep_stem(images)), wide.forward_features(self.wide_stem(images)))
        return self.mix(torch.cat(maps, dim=1))

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002 - timm's
        """Pool maps to [b, 512] and, unless ``pre_logits``, classify them to [b, classes]."""
        pooled = self.drop(self.global_pool(maps))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float [b, 3, h, w] to logits [b, classes]."""
        return self.forward_head(self.forward_features(images))
