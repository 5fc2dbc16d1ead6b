"""A TOML file and `--set` corrections -> every choice of one training run."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import tomllib
import types
import typing
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from crawler.errors import UnusableInput
from dataloading.preprocess import Preprocess
from training.models import ModelRecipe
from training.objective import ObjectiveRecipe
from training.optimizer import OptimizerRecipe
from training.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

BUNDLED: Final = Path(__file__).parent / "recipes"
"""Recipes that come with keyart."""


_WORDS: Final[dict[Any, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    tuple: "a list",
}


class SelectBy(StrEnum):
    """Which epoch's checkpoint is the best."""

    LOSS = "loss"
    """Lowest loss on validation."""
    TOP1 = "top1"
    """Highest top-1 on validation; the earlier epoch among equals."""


class Freeze(StrEnum):
    """What training leaves as it is."""

    NONE = "none"
    TRUNK = "trunk"
    """All but the head: features are computed once, and a linear head is fitted to them (``training.probe``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every choice of one training run."""

    name: str
    epochs: int = 10
    batch_size: int = 32
    """Posters per step over all workers, so that the number of workers does not change what is learned."""
    seed: int = 0
    precision: Precision = Precision.AUTO
    channels_last: bool = True
    """Memory format of images and convolutions; faster on CPUs with bfloat16 and on tensor cores."""
    compile: bool = False
    """Compile the network with torch.compile: minutes before the first step, faster steps after it."""
    select_by: SelectBy = SelectBy.LOSS
    freeze: Freeze = Freeze.NONE
    patience: int = 0
    """Stop after this many epochs that were not the best; 0 goes on to the end."""
    ema_decay: float = 0.0
    """Evaluate and keep a running average of the weights, with this share of the old at each step; 0 keeps none."""
    checkpoint_every_steps: int = 0
    """Steps between checkpoints within an epoch; 0 writes one at the end of each epoch only."""
    keep_checkpoints: int = 1
    """Of the checkpoints to go on from, this many stay, the newest as ``last``; the best one always stays too."""
    model: ModelRecipe = field(default_factory=ModelRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    preprocess: Preprocess = field(default_factory=Preprocess)

    def __post_init__(self) -> None:
        """Check the ranges and turn plain strings into their types."""
        for name, kind in (("precision", Precision), ("select_by", SelectBy), ("freeze", Freeze)):
            value = getattr(self, name)
            if value not in list(kind):
                msg = f"recipe field {name} {str(value)!r}: expected one of {', '.join(kind)}"
                raise UnusableInput(msg)
            object.__setattr__(self, name, kind(value))
        for name, low in (
            ("epochs", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("patience", 0),
            ("checkpoint_every_steps", 0),
            ("keep_checkpoints", 1),
        ):
            if getattr(self, name) < low:
                msg = f"recipe field {name} {getattr(self, name)}: expected a whole number of {low} or more"
                raise UnusableInput(msg)
        if not 0 <= self.ema_decay < 1:
            msg = f"recipe field ema_decay {self.ema_decay}: expected a number from 0 up to 1"
            raise UnusableInput(msg)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``from_dict`` is the inverse."""
        return asdict(self) | {"preprocess": self.preprocess.to_dict()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read it from plain values.

        Raises:
            UnusableInput: A field is unknown, of another type or out of range.
        """
        return _from_plain(cls, plain, prefix="")

    def digest(self) -> str:
        """Sixteen hex digits that differ between recipes that differ."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def read_recipe(source: Path, corrections: Sequence[str] = ()) -> Recipe:
    """Read a recipe and correct single fields of it.

    Args:
        source: A TOML file, or the name of a recipe that comes with keyart, such as ``drawn``.
        corrections: ``field=value``, with the dotted names of ``field_names``; values as in TOML, strings bare.

    Raises:
        UnusableInput: The file cannot be read, or a field is unknown, of another type or out of range.
    """
    plain = _read_toml(source)
    plain.setdefault("name", source.stem)
    for correction in corrections:
        name, separator, value = correction.partition("=")
        if not separator:
            msg = f"--set {correction!r}: expected field=value, such as epochs=5"
            raise UnusableInput(msg)
        _check_known(name.strip(), "--set")
        _assign(plain, name.strip(), value.strip())
    return Recipe.from_dict(plain)


def field_names() -> list[str]:
    """Dotted names of all fields, such as ``epochs`` and ``optimizer.learning_rate``."""
    return list(_leaves(Recipe, ""))


def bundled_names() -> list[str]:
    """Names of the recipes that come with keyart."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


def _read_toml(source: Path) -> dict[str, Any]:
    path = source
    if not source.is_file() and len(source.parts) == 1 and source.with_suffix("").name in bundled_names():
        path = BUNDLED / f"{source.with_suffix('').name}.toml"
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        close = difflib.get_close_matches(source.stem, bundled_names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        msg = f"recipe {source}: {error.strerror}; expected a TOML file or one of {', '.join(bundled_names())}{hint}"
        raise UnusableInput(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"recipe {source}: not TOML ({error})"
        raise UnusableInput(msg) from error


def _leaves(kind: type, prefix: str) -> dict[str, Any]:
    """Dotted name -> type of every field below a dataclass."""
    hints = typing.get_type_hints(kind)
    leaves: dict[str, Any] = {}
    for part in dataclasses.fields(kind):
        name = f"{prefix}{part.name}"
        wanted = hints[part.name]
        leaves |= _leaves(wanted, f"{name}.") if _is_table(wanted) else {name: wanted}
    return leaves


def _check_known(name: str, where: str) -> None:
    known = field_names()
    if name in known:
        return
    last = {leaf.rpartition(".")[2]: leaf for leaf in reversed(known)}
    close = difflib.get_close_matches(name, known, n=1) or [
        last[match] for match in difflib.get_close_matches(name.rpartition(".")[2], list(last), n=1)
    ]
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    msg = f"{where} field {name!r}: unknown; {hint}"
    raise UnusableInput(msg)


def _assign(plain: dict[str, Any], name: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare string
    *tables, leaf = name.split(".")
    for table in tables:
        plain = plain.setdefault(table, {})
    plain[leaf] = value


def _from_plain(kind: type[Any], plain: Any, prefix: str) -> Any:
    if not isinstance(plain, dict):
        msg = f"recipe field {prefix.rstrip('.')} {plain!r}: expected a table"
        raise UnusableInput(msg)
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in plain.items():
        name = f"{prefix}{key}"
        if key not in hints:
            _check_known(name, "recipe")
        wanted = hints[key]
        values[key] = _from_plain(wanted, value, f"{name}.") if _is_table(wanted) else _typed(name, value, wanted)
    return kind(**values)


def _typed(name: str, value: Any, wanted: Any) -> Any:
    """Check one value against its field's type; dataclasses check ranges themselves."""
    kinds = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else [wanted]
    choices: list[Any] = [_plain_kind(kind) for kind in kinds]
    if float in choices and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if tuple in choices and isinstance(value, list):
        return tuple(value)
    kind: Any = type(value)
    if kind not in choices and not (isinstance(value, StrEnum) and str in choices):
        expected = " or ".join(_WORDS[choice] for choice in choices if choice in _WORDS)
        msg = f"recipe field {name} {value!r}: expected {expected}"
        raise UnusableInput(msg)
    return value


def _is_table(wanted: Any) -> bool:
    return dataclasses.is_dataclass(wanted)


def _plain_kind(kind: Any) -> Any:
    """Give the type that TOML has for a field's type."""
    origin = typing.get_origin(kind) or kind
    return str if isinstance(origin, type) and issubclass(origin, StrEnum) else origin
