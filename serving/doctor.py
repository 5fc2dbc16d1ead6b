"""This machine -> what keyart can do on it: tried, not guessed."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from crawler.drawn import GENRES, draw_poster
from crawler.errors import KeyartError
from crawler.progress import silent
from dataloading.prepare import IMPLEMENTATIONS, default_implementation, make_preparer
from dataloading.preprocess import Preprocess
from serving.engine import Kind, Precision, load_engine
from serving.export import ExportOptions, export
from serving.summaries import DoctorReport, Finding
from training.checkpoint import Card, save_checkpoint
from training.models import build
from training.run_folder import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.progress import Advance

PACKAGES: Final = (
    *("keyart", "ray", "aiohttp", "polars", "numpy", "numba", "pillow", "simplejpeg", "torch", "torchvision"),
    *("timm", "onnx", "openvino", "nncf", "nvidia-dali-cuda130", "tensorrt", "tensorrt-rtx"),
)
FLAGS: Final = {"avx2": "avx2", "avx512": "avx512f", "vnni": "avx512_vnni", "bf16": "avx512_bf16", "amx": "amx_tile"}
"""Name for people -> flag in /proc/cpuinfo."""
REMEDIES: Final = {
    "dali": ("nvidia-dali-cuda130", "pip install nvidia-dali-cuda130 (Linux on x86-64)"),
    "openvino": ("openvino", "pip install openvino nncf onnx"),
    "tensorrt": ("tensorrt", "pip install 'keyart[gpu]' on a machine with an NVIDIA GPU"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13", "pip install 'keyart[rtx]' (Linux or Windows on x86-64)"),
    "torch": ("torch", "pip install torch torchvision, both from one index"),
}
"""Part -> the package that it needs, and how to get it."""
SPEC: Final = Preprocess(size=64)
TRIAL_POSTERS: Final = 12


def examine(advance: Advance = silent) -> DoctorReport:
    """Try every part on a small drawn poster, and say what works.

    A part that does not work is a finding, not an error.

    Args:
        advance: Told of every part that was tried; there are ``parts()`` of them.
    """
    bodies = [
        draw_poster(seed=seed, genre=GENRES[seed % len(GENRES)], title="Trial", height=139, width=93)
        for seed in range(TRIAL_POSTERS)
    ]
    preparers = {name: _tried(lambda name=name: _try_preparer(name, bodies), advance, name) for name in IMPLEMENTATIONS}
    engines: dict[str, Finding] = {}
    with tempfile.TemporaryDirectory(prefix="keyart-doctor-") as folder:
        place = Path(folder)
        _write_trial(place, bodies)
        for kind in Kind:
            engines[kind] = _tried(lambda kind=kind: _try_engine(kind, place), advance, kind)
    here, packages = machine(), _versions()
    return DoctorReport(
        python=platform.python_version(),
        system=here["system"],
        cpu=here["cpu"],
        cores=here["cores"],
        cpu_features=_features(),
        memory_gib=here["memory_gib"],
        accelerators=_accelerators(),
        packages=packages,
        preparers=preparers,
        preparer=default_implementation(),
        engines=engines,
        missing=_missing({**preparers, **engines}, packages),
    )


def parts() -> int:
    """Return how many parts are tried."""
    return len(IMPLEMENTATIONS) + len(Kind)


def _missing(findings: dict[str, Finding], packages: dict[str, str]) -> dict[str, str]:
    """Say how to get what does not work for want of a package."""
    broken = [name for name, finding in findings.items() if not finding.works and name in REMEDIES]
    return {name: REMEDIES[name][1] for name in broken if REMEDIES[name][0] not in packages}


def _tried(attempt: Callable[[], str], advance: Advance, name: str) -> Finding:
    try:
        finding = Finding(works=True, note=attempt())
    except (KeyartError, ImportError, OSError, RuntimeError) as error:  # how a library that is not whole fails
        finding = Finding(works=False, note=" ".join(str(error).split())[:160])
    advance(1, name)
    return finding


def _try_preparer(name: str, bodies: list[bytes]) -> str:
    """Prepare posters, and compare them with the reference."""
    truth = make_preparer(SPEC, "reference").prepare(bodies).images
    images = make_preparer(SPEC, name).prepare(bodies).images
    levels = float(np.abs(images - truth).max() * max(SPEC.std) * 255)
    return f"{len(bodies)} posters, at most {levels:.1f} of 255 levels from the reference"


def _write_trial(place: Path, bodies: list[bytes]) -> None:
    """Write a checkpoint with random weights, and posters to compare engines on."""
    posters = place / "posters"
    posters.mkdir()
    for index, body in enumerate(bodies):
        (posters / f"{index}.jpg").write_bytes(body)
    network = build("resnet18", 2, weights=None)
    card = Card(architecture="resnet18", vocabulary=("one", "other"), task="trial", preprocess=SPEC)
    save_checkpoint(place / "checkpoint", network.state_dict(), card)


def _try_engine(kind: Kind, place: Path) -> str:
    """Build an engine from the trial checkpoint, load it, run it."""
    model = place / kind
    backend = kind.backend
    runs = backend.runs_here(kind)
    report = export(
        place / "checkpoint", model, ExportOptions(engine=kind, calibration=place / "posters", force=not runs)
    )
    can: list[str] = []
    for precision in Precision:
        try:
            backend.check_precision(kind, precision)
            can.append(precision)
        except KeyartError:
            continue
    if not runs:
        return f"compiled, {report.size_bytes / 2**20:.0f} MiB, and not run: no NVIDIA GPU here; {', '.join(can)}"
    logits = load_engine(model).infer(np.zeros((2, 3, SPEC.size, SPEC.size), np.float32))
    hardware = str(backend.hardware()).strip()
    return (
        f"built and run on {hardware}, {len(logits)} posters, {report.max_difference:.4f} from torch; {', '.join(can)}"
    )


def _features() -> dict[str, bool]:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return {name: flag in flags for name, flag in FLAGS.items()}


def _accelerators() -> tuple[str, ...]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, check=True, capture_output=True, text=True, timeout=30)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError) as error:
        return (f"nvidia-smi is there and fails ({error})",)
    return tuple(f"{line.strip()} driver" for line in found.stdout.splitlines() if line.strip())


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
