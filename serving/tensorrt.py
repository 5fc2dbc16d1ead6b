"""ONNX -> a TensorRT engine, and that engine. The GPU's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from serving.engine import Precision


def check_precision(precision: Precision) -> None:
    """Refuse to build here.

    Raises:
        UnusableInput: Always, until this engine is written.
    """
    msg = f"engine tensorrt {precision}: needs an NVIDIA GPU and the package tensorrt; say --engine openvino on a CPU"
    raise UnusableInput(msg)
