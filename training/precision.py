"""A wish for a number format and a device -> autocast and loss scaling."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from crawler.errors import UnusableInput


class Precision(StrEnum):
    """Format of the forward and backward pass; weights and optimiser stay float32."""

    AUTO = "auto"
    """bfloat16 where the chip computes in it, float16 with loss scaling on other GPUs, float32 on other CPUs."""
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    """With loss scaling; for GPUs without bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """What a training step runs in on one device."""

    precision: Precision
    """Never ``auto``."""
    device_type: str
    """``cpu`` or ``cuda``."""

    def autocast(self) -> torch.autocast:
        """Context of the forward pass; it does nothing in fp32."""
        dtype = torch.float16 if self.precision is Precision.FP16 else torch.bfloat16
        return torch.autocast(self.device_type, dtype, enabled=self.precision is not Precision.FP32)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaler; it does nothing but in fp16."""
        return torch.amp.GradScaler(self.device_type, enabled=self.precision is Precision.FP16)


def cpu_computes_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX).

    torch runs bfloat16 on any AVX-512 machine; without these instructions it emulates them, slower than float32.
    """
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose(precision: Precision, device: torch.device) -> Numerics:
    """Settle ``auto`` for a device.

    Raises:
        UnusableInput: fp16 on a CPU.

    Example:
        >>> choose(Precision.FP32, torch.device("cpu")).precision
        <Precision.FP32: 'fp32'>
    """
    if precision is Precision.AUTO:
        if device.type == "cuda":
            precision = Precision.BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FP16
        else:
            precision = Precision.BF16 if cpu_computes_bf16() else Precision.FP32
    if precision is Precision.FP16 and device.type == "cpu":
        msg = "precision 'fp16' on a CPU: expected auto, bf16 or fp32; fp16 with loss scaling is for GPUs"
        raise UnusableInput(msg)
    return Numerics(precision=precision, device_type=device.type)
