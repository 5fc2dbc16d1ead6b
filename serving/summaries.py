"""What report, demo and doctor found -> what they say: one screen of text, or one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that was gone through."""

    name: str
    seconds: float
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What a demo did and found."""

    folder: str
    drawn: bool
    """Whether the posters were drawn by keyart itself."""
    task: str
    weights: str
    """Where training began."""
    labels: int
    held_out: int
    """Posters of the test split."""
    top1: dict[str, float]
    """Share of them that is named right: ``value``, and its 95 % interval ``low`` to ``high``."""
    majority: float
    """Share that the most frequent label alone would reach."""
    majority_label: str
    gain: dict[str, float]
    """Top-1 less the majority, with its 95 % interval from a paired bootstrap."""
    stages: tuple[Stage, ...]
    seconds: float

    def __str__(self) -> str:
        opening = (
            "These posters are drawn by keyart, and the movies do not exist: the figures show that every part works,\n"
            "not how well a real poster tells its genre."
            if self.drawn
            else "Real posters from the folder given, served by a local server and crawled over HTTP."
        )
        begin = start_of(self.weights)
        top1, gain = self.top1, self.gain
        reach = f"{_points(gain['low'])} to {_points(gain['high'])}"
        verdict = "clearly better" if gain["low"] > 0 else "not clearly better"
        return "\n".join(
            [
                opening,
                "",
                *(f"{stage.name:9}{stage.seconds:7.1f} s  {stage.result}" for stage in self.stages),
                f"{'total':9}{self.seconds:7.1f} s",
                "",
                f"{self.task}, {self.labels} labels, from {begin}; {self.held_out:,} held-out posters:",
                f"  top-1 {top1['value']:.1%} (95 % interval {top1['low']:.1%} to {top1['high']:.1%})",
                f"  chance {1 / self.labels:.1%}; always saying {self.majority_label} {self.majority:.1%}",
                f"  {verdict} than that: {_points(gain['value'])} points ({reach})",
                "",
                f"results  {self.folder}/report.html and predictions.html, in any browser",
                f"         {self.folder}/predictions/*.parquet, a row a poster; model/ and run/ beside it",
                f"next     keyart score {self.folder}/model FOLDER-OF-POSTERS -o predictions",
                "         keyart demo --data DIR    the same with real posters; keyart --help for each step alone",
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """The report that was written."""

    report: str
    source: str
    kind: str
    """``run`` or ``predictions``."""
    posters: int
    """That it is about."""
    pictures: bool
    size_bytes: int

    def __str__(self) -> str:
        shown = "with pictures" if self.pictures else "without pictures"
        return (
            f"{self.report}: {self.kind} {self.source}, {self.posters:,} posters, {shown}, "
            f"{self.size_bytes / 2**20:.1f} MiB; open it in any browser"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a part works here."""

    works: bool
    note: str
    """What was tried and came out, or the one line that it failed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """What this machine has and can do."""

    python: str
    system: str
    cpu: str
    cores: int
    cpu_features: dict[str, bool]
    memory_gib: float
    accelerators: tuple[str, ...]
    """Name, memory and driver of each GPU."""
    packages: dict[str, str]
    """Package -> version; those that are missing are not in it."""
    preparers: dict[str, Finding]
    preparer: str
    """Which one ``auto`` is."""
    engines: dict[str, Finding]
    missing: dict[str, str]
    """Part that does not work -> how to get it."""

    def __str__(self) -> str:
        features = ", ".join(name for name, there in self.cpu_features.items() if there) or "none"
        absent = ", ".join(name for name, there in self.cpu_features.items() if not there)
        lines = [
            f"python       {self.python} on {self.system}",
            f"processor    {self.cpu}, {self.cores} cores usable, {self.memory_gib:.0f} GiB memory",
            f"             {features}" + (f" (not {absent})" if absent else ""),
            f"accelerator  {'; '.join(self.accelerators) or 'none found; everything runs on the CPU'}",
            "packages     " + _wrapped([f"{name} {version}" for name, version in self.packages.items()]),
            f"preparers    ({self.preparer} is used where nothing else is asked for)",
            *(_line(name, finding) for name, finding in self.preparers.items()),
            "engines",
            *(_line(name, finding) for name, finding in self.engines.items()),
        ]
        lines += [f"to get {part}: {how}" for part, how in self.missing.items()]
        return "\n".join([*lines, "next: keyart demo"])


def _line(name: str, finding: Finding) -> str:
    return f"  {name:10} {'works' if finding.works else 'NOT  '}  {finding.note}"


def _wrapped(words: list[str], width: int = 100) -> str:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word}, "
    return ("\n" + " " * 13).join(line.rstrip(", ") for line in lines)


def start_of(initial_weights: str) -> str:
    """Say where training began, from what a checkpoint's card has of it.

    Example:
        >>> start_of("file:resnet18.pth sha256:b515ee6cf3dc9b16")
        'resnet18.pth (sha256 b515ee6cf3dc)'
    """
    if initial_weights == "random":
        return "random weights"
    name, _, digest = initial_weights.removeprefix("file:").partition(" sha256:")
    return f"{name} (sha256 {digest[:12]})" if digest else name


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
