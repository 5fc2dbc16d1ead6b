"""timm's own training loop, as its train.py has it: create_dataset, create_loader, create_optimizer_v2, bf16 autocast.

Its ``--amp --amp-dtype bfloat16 --channels-last --workers 2``. The transform is replaced by the stretch that all
contenders make, for timm has no name for it in training. Its prefetcher is for GPUs alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm import utils
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from benchmarks.peers.loading_torch import transform

PACKAGES = ("torch", "timm", "pillow")


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Build network, optimiser, schedule and loader."""
    torch.set_num_threads(job["threads"])
    dataset = create_dataset("", root=job["folder"], split="train", is_training=True, batch_size=job["batch"])
    loader = create_loader(
        dataset,
        input_size=(3, job["size"], job["size"]),
        batch_size=job["batch"],
        is_training=True,
        no_aug=True,
        use_prefetcher=False,
        num_workers=job["workers"],
        pin_memory=False,
        persistent_workers=job["workers"] > 0,
        device=torch.device("cpu"),
    )
    dataset.transform = transform(job["size"])
    model = timm.create_model("resnet18", num_classes=2).to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=300, updates_per_epoch=len(loader), step_on_epochs=False)
    criterion = torch.nn.CrossEntropyLoss()
    updates = 0

    def lap() -> dict[str, float]:
        nonlocal updates
        model.train()
        data_time, losses = utils.AverageMeter(), utils.AverageMeter()
        started_s, asked_s, batches = time.perf_counter(), time.perf_counter(), 0
        for images, targets in loader:
            data_time.update(time.perf_counter() - asked_s)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=job["autocast"]):
                loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), len(targets))
            updates, batches = updates + 1, batches + 1
            scheduler.step_update(num_updates=updates, metric=losses.avg)
            if batches == job["steps"]:
                break
            asked_s = time.perf_counter()
        return {"waited": data_time.sum / (time.perf_counter() - started_s), "loss": losses.avg}

    return lap
