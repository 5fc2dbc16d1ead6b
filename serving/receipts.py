"""Finished work -> what its verb says: one screen of text, or one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was built, and how it compares."""

    model: str
    model_id: str
    engine: str
    precision: str
    size_bytes: int
    posters: int
    """That it was compared on."""
    mean_difference: float
    max_difference: float
    top1_agreement: float
    reference_accuracy: float | None
    engine_accuracy: float | None
    temperature: float
    forced: bool
    measured_on: str
    """``engine``, or ``network``: its ONNX file on the CPU, where the engine does not run on this machine."""

    def __str__(self) -> str:
        whose = "" if self.measured_on == "engine" else "the ONNX file, on the CPU, "
        lines = [
            f"{self.model}: {self.engine} {self.precision}, {self.size_bytes / 2**20:.1f} MiB, id {self.model_id}",
            f"{whose}beside the float32 reference on {self.posters:,} posters:",
            f"  same first label {self.top1_agreement:.2%}",
            f"  probabilities differ by {self.mean_difference:.4f} on average, {self.max_difference:.4f} at most",
        ]
        if self.reference_accuracy is not None:
            lines.append(f"top-1 accuracy {self.engine_accuracy:.2%}, of the reference {self.reference_accuracy:.2%}")
            lines.append(f"probabilities calibrated with temperature {self.temperature}")
        if self.measured_on != "engine":
            lines.append("the engine itself: not yet measured, no GPU here; published because of --force")
        elif self.forced:
            lines.append("beyond the bound of its precision, and published because of --force")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReport:
    """What a folder of predictions holds, and what this call did for it."""

    predictions: str
    model_id: str
    posters: int
    """Rows, all chunks together."""
    labels: dict[str, int]
    """Posters by label, the most frequent first."""
    without_label: dict[str, int]
    """Posters by the reason why they have none."""
    chunks: int
    scored_now: int
    """Posters that this call scored; the others were there."""
    seconds: float
    posters_per_s: float
    """Of this call, Ray's start not counted."""

    def __str__(self) -> str:
        ranked = [f"  {count:>9,}  {label}" for label, count in self.labels.items()]
        without = [f"  {count:>9,}  no label: {reason}" for reason, count in self.without_label.items()]
        now = f"{self.scored_now:,} scored now in {self.seconds:.1f} s ({self.posters_per_s:,.0f} posters/s)"
        return "\n".join(
            [
                f"{self.posters:,} posters in {self.chunks} files of {self.predictions}, by {self.model_id}",
                *ranked,
                *without,
                now if self.scored_now else "nothing was left to score",
            ]
        )
