"""The loop of torchvision's reference scripts: DataLoader, ImageFolder, Pillow, transforms v2, SGD.

``autocast`` adds what its ``--amp`` would do if it worked on a CPU, ``channels_last`` the memory format that
convolutions like there; without both it is the script as it comes. Two worker processes that live through all epochs,
as the documentation of DataLoader has it for speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.peers.loading_torch import transform

PACKAGES = ("torch", "torchvision", "pillow")


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Build network, optimiser and loader."""
    torch.set_num_threads(job["threads"])
    layout = torch.channels_last if job["channels_last"] else torch.contiguous_format
    dataset = ImageFolder(str(Path(job["folder"])), transform(job["size"]))
    loader = DataLoader(
        dataset,
        job["batch"],
        shuffle=True,
        num_workers=job["workers"],
        drop_last=True,
        persistent_workers=job["workers"] > 0,
    )
    model = torchvision.models.resnet18(num_classes=len(dataset.classes)).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()

    def lap() -> dict[str, float]:
        model.train()
        started_s, waited_s, loss_sum, batches = time.perf_counter(), 0.0, 0.0, 0
        iterator, asked_s = iter(loader), time.perf_counter()
        for images, targets in iterator:
            waited_s += time.perf_counter() - asked_s
            images = images.to(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=job["autocast"]):
                loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum, batches = loss_sum + loss.item(), batches + 1
            if batches == job["steps"]:
                break
            asked_s = time.perf_counter()
        return {"waited": waited_s / (time.perf_counter() - started_s), "loss": loss_sum / batches}

    return lap
