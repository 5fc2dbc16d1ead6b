"""A training on one CPU learns, goes on where it was killed, and stops when it cannot go on."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import torch

from crawler.errors import WorkFailed
from training import models
from training.checkpoint import load_card, load_weights
from training.cluster import train
from training.optimizer import OptimizerRecipe
from training.precision import Precision, choose, cpu_computes_bf16

if TYPE_CHECKING:
    from dataloading.dataset import Dataset
    from training.recipe import Recipe

GOLDEN = Path(__file__).parent / "golden.json"


def command(recipe: Recipe, dataset: Dataset, run: Path) -> list[str]:
    """The real command for a training in one process."""
    path = run.with_suffix(".toml")
    path.write_text(as_toml(recipe))

    call = ["train", path, "--dataset", dataset.folder, "-o", run, "--workers", 0]
    return [sys.executable, "-m", "keyart", *map(str, call)]


def as_toml(recipe: Recipe) -> str:
    """A recipe as a file; JSON's scalars and lists are TOML's."""
    plain = recipe.to_dict()
    top = [f"{key} = {json.dumps(value)}" for key, value in plain.items() if not isinstance(value, dict)]
    for table, fields in plain.items():
        if isinstance(fields, dict):
            top += [
                f"[{table}]",
                *(f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None),
            ]
    return "\n".join(top) + "\n"


def test_a_training_learns_and_writes_what_it_found(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """Checkpoints, metrics, evaluation and predictions agree with each other and with the report."""
    report = train(replace(recipe, epochs=4), dataset, tmp_path / "run", workers=0)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
    predictions = pl.read_parquet(tmp_path / "run/predictions.parquet")
    card = load_card(tmp_path / "run/checkpoints/best")
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert report.top1 > report.majority
    assert set(predictions["movie_id"]) == set(dataset.rows("test")["movie_id"])
    right = (predictions["label"] == predictions["target"]).mean()
    assert right == pytest.approx(evaluation["test"]["top1"]) == pytest.approx(report.top1)
    assert predictions["probabilities"].list.sum().to_list() == pytest.approx([1.0] * len(predictions))
    assert sum(map(sum, evaluation["test"]["confusion"])) == evaluation["test"]["n"] == len(predictions)
    assert card.vocabulary == dataset.vocabulary
    assert card.metrics["test"]["top1"] == report.top1
    assert card.metrics["best_epoch"] == min(lines, key=lambda line: line["validation_loss"])["epoch"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")) == [
        "checkpoints",
        "evaluation.json",
        "metrics.jsonl",
        "predictions.parquet",
        "run.json",
        "tensorboard",
    ]


def test_the_card_is_enough_to_compute_the_predictions(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """A network built from the card, fed through the card's preprocessing, gives the stored probabilities."""
    from dataloading.loader import PosterLoader  # noqa: PLC0415 - what serving would do, all in one place

    train(recipe, dataset, tmp_path / "run", workers=0)
    card = load_card(tmp_path / "run/checkpoints/best")
    model = models.build(card.architecture, len(card.vocabulary), **card.model_options).eval()
    model.load_state_dict(load_weights(tmp_path / "run/checkpoints/best"))
    stored = pl.read_parquet(tmp_path / "run/predictions.parquet")
    found: dict[int, list[float]] = {}
    for batch in PosterLoader(dataset, card.preprocess.for_evaluation(), split="test", shuffle=False, batch_size=5):
        with torch.inference_mode():
            rows = model(torch.from_numpy(batch.images)).softmax(dim=1)
        found |= dict(zip(batch.movie_ids.tolist(), rows.tolist(), strict=True))
    for movie_id, probabilities in stored.select("movie_id", "probabilities").iter_rows():
        assert probabilities == pytest.approx(found[movie_id], abs=1e-5)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("extras", ["plain", "everything"])
def test_a_killed_training_ends_with_the_same_bits(
    recipe: Recipe, dataset: Dataset, tmp_path: Path, extras: str
) -> None:
    """SIGKILL in the middle of an epoch, the same command again: weights, metrics and predictions are the same."""
    recipe = replace(recipe, epochs=12, checkpoint_every_steps=3)
    if extras == "everything":
        recipe = replace(
            recipe,
            ema_decay=0.9,
            model=replace(recipe.model, drop_rate=0.2),
            objective=replace(recipe.objective, mixup=0.3, label_smoothing=0.1),
            optimizer=OptimizerRecipe(learning_rate=0.01, warmup_epochs=1, clip_norm=1, accumulate=2),
            preprocess=replace(recipe.preprocess, method="augment"),
        )
    train(recipe, dataset, tmp_path / "calm", workers=0)
    words = command(recipe, dataset, tmp_path / "killed")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE)
    position = wait_for_step(tmp_path / "killed", 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/evaluation.json").exists(), f"it ended before it was killed, at {position}"
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    for name in ("best", "last"):
        calm, killed = (load_weights(tmp_path / run / "checkpoints" / name) for run in ("calm", "killed"))
        assert all(torch.equal(calm[key], killed[key]) for key in calm), name
    assert read_losses(tmp_path / "killed") == read_losses(tmp_path / "calm")


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> int:
    """Wait until the last checkpoint stands at a step or after it, in the middle of an epoch."""
    deadline = time.monotonic() + 700  # a busy machine takes its time
    while time.monotonic() < deadline and process.poll() is None:
        try:
            position = torch.load(run / "checkpoints/last/state.pt", weights_only=True)["position"]
        except (FileNotFoundError, NotADirectoryError):  # between the renames of a checkpoint
            continue
        if position["step"] >= step and position["samples_done"]:
            return position["step"]
    message = process.communicate()[1].decode() if process.poll() is not None else "still running"
    pytest.fail(f"no checkpoint at step {step}: {message}")


def read_losses(run: Path) -> list[tuple[float, float]]:
    """Training and validation loss of each epoch."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["train_loss"], line["validation_loss"]) for line in lines]


def test_the_same_call_again_does_nothing(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """A finished run is reported from its files."""
    first = train(recipe, dataset, tmp_path / "run", workers=0)
    before = (tmp_path / "run/checkpoints/best/weights.safetensors").stat().st_mtime_ns
    again = train(recipe, dataset, tmp_path / "run", workers=0)
    assert replace(again, seconds=0) == replace(first, seconds=0)
    assert (tmp_path / "run/checkpoints/best/weights.safetensors").stat().st_mtime_ns == before


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_checkpoint(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    """The message says what to change; the checkpoint that is named holds finite weights."""
    wild = replace(recipe, epochs=5, optimizer=replace(recipe.optimizer, learning_rate=1e20), checkpoint_every_steps=1)
    with pytest.raises(WorkFailed, match=r"not a number (at|after) step \d+; lower optimizer\.learning_rate 1e\+20"):
        train(wild, dataset, tmp_path / "run", workers=0)
    if (tmp_path / "run/checkpoints/last").exists():
        weights = load_weights(tmp_path / "run/checkpoints/last")
        assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_full_disk_stops_with_the_last_good_checkpoint(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: exit code 1, one line, an intact earlier checkpoint."""
    recipe = replace(recipe, epochs=1)
    train(recipe, dataset, tmp_path / "run", workers=0)
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    longer = replace(recipe, epochs=3)
    manifest |= {"status": "running", "recipe": longer.to_dict()}
    (tmp_path / "run/run.json").write_text(json.dumps(manifest))
    before = load_weights(tmp_path / "run/checkpoints/last")

    def little_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    done = subprocess.run(
        command(longer, dataset, tmp_path / "run"), preexec_fn=little_space, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be written" in done.stderr
    assert "checkpoints/last is the last good checkpoint" in done.stderr
    after = load_weights(tmp_path / "run/checkpoints/last")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_stops_when_it_no_longer_gets_better(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """With a rate that changes nothing, an early epoch stays the best and patience runs out."""
    still = replace(recipe, epochs=9, patience=2, select_by="top1", optimizer=OptimizerRecipe(learning_rate=1e-12))
    report = train(still, dataset, tmp_path / "run", workers=0)
    assert report.epochs == report.best_epoch + 2 < 9


def test_the_loss_curve_is_the_golden_one(golden_recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """What is learned changes only on purpose; `golden.json` is made again by `make_golden.py`."""
    train(golden_recipe, dataset, tmp_path / "run", workers=0)
    golden = json.loads(GOLDEN.read_text())
    for found, expected in zip(read_losses(tmp_path / "run"), golden["losses"], strict=True):
        assert found == pytest.approx(expected, rel=golden["tolerance"])


@pytest.mark.skipif(not cpu_computes_bf16(), reason="this CPU does not compute in bfloat16")
def test_bfloat16_learns_as_float32_does(golden_recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """`auto` takes bfloat16 where the CPU has it, and the losses stay close."""
    assert choose(Precision.AUTO, torch.device("cpu")).precision is Precision.BF16
    for precision in (Precision.FP32, Precision.BF16):
        train(replace(golden_recipe, precision=precision), dataset, tmp_path / precision, workers=0)
    exact, rounded = read_losses(tmp_path / "fp32"), read_losses(tmp_path / "bf16")
    assert rounded != exact
    assert rounded[0][0] == pytest.approx(exact[0][0], rel=0.2)
