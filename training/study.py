"""A study's TOML file -> its arms, its claims and where their results lie."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from crawler.errors import UnusableInput
from dataloading.labels import TASKS
from dataloading.split import Scheme
from training.baselines import Baseline
from training.quality import FIGURES
from training.run_folder import RunFolder, read_manifest, write_json

if TYPE_CHECKING:
    Table = TypeVar("Table", bound="Arm | Claim")

STUDY: Final = "study.json"
"""Beside the runs: the study as it was read, so that its results can be told from its folder alone."""
BUNDLED: Final = Path(__file__).parent / "studies"
"""Studies that come with keyart."""
SMALLEST_EFFECT: Final = 0.01
"""Of interest, as a share: a difference below one point decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to answer one task."""

    name: str
    task: str
    recipe: str = ""
    """A recipe file, or the name of one that comes with keyart; empty for a baseline."""
    corrections: tuple[str, ...] = ()
    """``field=value``, as for ``keyart train --set``."""
    split: Scheme = Scheme.GROUPED
    """``grouped`` is the fair one; ``article`` selects and measures on the same part, as the article did."""
    seeds: int = 0
    """0 is as many as the study has."""
    against: str = ""
    """Arm that it is compared with; empty is the first model of its task and split."""
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        """Check what needs no other arm."""
        for name, kind in (("split", Scheme), ("baseline", Baseline)):
            value = getattr(self, name)
            if value is not None and value not in list(kind):
                msg = f"arm {self.name!r}: {name} {value!r}, expected one of {', '.join(kind)}"
                raise UnusableInput(msg)
            object.__setattr__(self, name, None if value is None else kind(value))
        if self.task not in TASKS:
            msg = f"arm {self.name!r}: task {self.task!r}, expected one of {', '.join(TASKS)}"
            raise UnusableInput(msg)
        if bool(self.recipe) == (self.baseline is not None):
            msg = f"arm {self.name!r}: expected either a recipe or a baseline"
            raise UnusableInput(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the article that the study can judge."""

    text: str
    arm: str
    says: float | None = None
    """The article's figure; None where it gives none."""
    against: str = ""
    """Arm that ``arm`` is claimed to be better than, or to cost ``says`` times as much as."""
    figure: str = "top1"
    """Of ``training.quality.FIGURES``, or ``cost``."""
    within: float = 0.025
    """How far from ``says`` the truth may lie for "approximately" to hold; for a cost, as a share of it."""

    def __post_init__(self) -> None:
        """Check what needs no arm."""
        if self.figure not in {*FIGURES, "cost"}:
            msg = f"claim {self.text!r}: figure {self.figure!r}, expected one of {', '.join(FIGURES)}, cost"
            raise UnusableInput(msg)
        if not self.against and self.says is None:
            msg = f"claim {self.text!r}: expected says = a figure, or against = an arm"
            raise UnusableInput(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Arms that are compared over the same seeds, and the claims that they decide."""

    name: str
    seeds: int
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...] = ()

    def __getitem__(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def seeds_of(self, arm: Arm) -> range:
        """Seeds that an arm is run with."""
        return range(arm.seeds or self.seeds)

    def rival(self, arm: Arm) -> Arm | None:
        """Arm that another is compared with; None for a baseline and for the first model of a task."""
        if arm.baseline is not None:
            return None
        alike = (one for one in self.arms if (one.task, one.split, one.baseline) == (arm.task, arm.split, None))
        first = self[arm.against] if arm.against else next(alike)
        return None if first.name == arm.name else first

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``from_dict`` is the inverse."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Study:
        """Read it from plain values, as TOML and JSON give them.

        Raises:
            UnusableInput: A field is missing, unknown or out of range, or a name is used twice or for nothing.
        """
        arms = tuple(_table(Arm, one, "arm") for one in plain["arms"])
        claims = tuple(_table(Claim, one, "claim") for one in plain["claims"])
        names = [arm.name for arm in arms]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"arm {twice!r} is there twice; expected names that differ"
            raise UnusableInput(msg)
        wanted = [(f"arm {arm.name!r}: against", arm.against) for arm in arms if arm.against]
        wanted += [(f"claim {one.text!r}: arm", name) for one in claims for name in (one.arm, one.against) if name]
        for what, name in wanted:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"
                msg = f"{what} {name!r}: no such arm; {hint}"
                raise UnusableInput(msg)
        if plain["seeds"] < 1:
            msg = f"seeds {plain['seeds']}: expected a whole number of 1 or more"
            raise UnusableInput(msg)
        return cls(name=plain["name"], seeds=plain["seeds"], arms=arms, claims=claims)


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """Where the files of a study lie."""

    path: Path

    @property
    def study(self) -> Path:
        """The study itself."""
        return self.path / STUDY

    @property
    def results(self) -> Path:
        """All figures of all arms, as ``keyart experiment`` found them last."""
        return self.path / "results.json"

    @property
    def manifests(self) -> Path:
        """What each run was made from, without paths."""
        return self.path / "manifests.json"

    @property
    def cost(self) -> Path:
        """What a training step of each arm costs, where that was measured."""
        return self.path / "cost.json"

    def dataset(self, arm: Arm, seed: int) -> Path:
        """Folder of the dataset that an arm sees with a seed; arms of one task and split share it."""
        kind = "" if arm.split is Scheme.GROUPED else f"-{arm.split}"
        return self.path / "datasets" / f"{arm.task}{kind}-{seed}"

    def run(self, arm: Arm, seed: int) -> RunFolder:
        """Folder of one run."""
        return RunFolder(self.path / "runs" / arm.name / str(seed))

    def finished(self, arm: Arm, seed: int) -> bool:
        """Tell whether a run has ended."""
        manifest = read_manifest(self.run(arm, seed))
        return manifest is not None and manifest["status"] == "finished"

    def read(self) -> Study:
        """Read the study that was run here.

        Raises:
            UnusableInput: There is none.
        """
        try:
            return Study.from_dict(json.loads(self.study.read_text()))
        except (OSError, ValueError, KeyError) as error:
            msg = f"study {self.path}: {STUDY} cannot be read ({error}); expected a folder of `keyart experiment`"
            raise UnusableInput(msg) from error

    def write(self, study: Study) -> None:
        """Keep the study beside its runs."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.study, study.to_dict())


def read_study(path: Path) -> Study:
    """Read a study, and add to each of its tasks the baselines that models must beat.

    Args:
        path: A TOML file, or the name of a study that comes with keyart: ``article``.

    Raises:
        UnusableInput: It is no TOML file with ``seeds`` and ``[[arm]]`` tables of known fields.
    """
    bundled = BUNDLED / f"{path.name}.toml"
    try:
        plain = tomllib.loads((bundled if not path.is_file() and bundled.is_file() else path).read_text())
        arms, seeds = plain.pop("arm"), plain.pop("seeds")
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        msg = f"study {path}: {error}; expected a TOML file with seeds = N and [[arm]] tables of name, task and recipe"
        raise UnusableInput(msg) from error
    read = {"name": plain.pop("name", path.stem), "seeds": seeds, "arms": arms, "claims": []}
    claims, with_baselines = plain.pop("claim", []), plain.pop("baselines", True)
    try:
        if plain:
            msg = f"unknown field {next(iter(plain))!r}; expected name, seeds, baselines, [[arm]] and [[claim]] tables"
            raise UnusableInput(msg)  # noqa: TRY301 - gets the file's name below, like all others
        added = _baselines(Study.from_dict(read)) if with_baselines else []
        return Study.from_dict(read | {"arms": [*arms, *added], "claims": claims})
    except UnusableInput as error:
        msg = f"study {path}: {error}"
        raise UnusableInput(msg) from error


def _baselines(study: Study) -> list[dict[str, Any]]:
    """Give each task and split of a study its baselines, with as many seeds as its models have at most."""
    found: list[dict[str, Any]] = []
    for task, split in dict.fromkeys((arm.task, arm.split) for arm in study.arms if arm.task != "genres"):
        seeds = max(len(study.seeds_of(arm)) for arm in study.arms if (arm.task, arm.split) == (task, split))
        kinds = [kind for kind in Baseline if kind is not Baseline.BUDGET or task == "box-office"]
        kind_of_split = "" if split is Scheme.GROUPED else f"-{split}"
        found += [
            {"name": f"{task}{kind_of_split}-{kind}", "task": task, "split": split, "seeds": seeds, "baseline": kind}
            for kind in kinds
        ]
    return found


def _table(kind: type[Table], plain: dict[str, Any], word: str) -> Table:
    known = [one.name for one in dataclasses.fields(kind)]
    for name in plain:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
            msg = f"{word} {plain.get('name', plain.get('text', ''))!r}: unknown field {name!r}; {hint}"
            raise UnusableInput(msg)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    try:
        return kind(**values)
    except TypeError as error:
        msg = f"{word} {plain.get('name', plain.get('text', ''))!r}: {error}"
        raise UnusableInput(msg) from error
