"""A recipe is read as it is written, and a mistake in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.errors import UnusableInput
from training.models import Activation
from training.recipe import Recipe, bundled_names, read_recipe


@pytest.mark.parametrize("name", bundled_names())
def test_a_bundled_recipe_is_read_by_its_name(name: str) -> None:
    """Name and file are the same recipe, and it survives the way through a manifest."""
    recipe = read_recipe(Path(name))
    assert recipe.name == name
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_corrections_reach_every_table() -> None:
    """A correction has a dotted name; strings need no quotes, whole numbers may stand for numbers."""
    corrections = ["epochs=3", "model.activation=mish", "optimizer.learning_rate=1", "preprocess.method=pad"]
    recipe = read_recipe(Path("drawn"), corrections)
    assert (recipe.epochs, recipe.model.activation) == (3, Activation.MISH)
    assert (recipe.optimizer.learning_rate, recipe.preprocess.method) == (1.0, "pad")


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ("epoch=3", r"--set field 'epoch': unknown; did you mean 'epochs'\?"),
        ("learning_rate=0.1", r"'learning_rate': unknown; did you mean 'optimizer\.learning_rate'\?"),
        ("optimizer.learnig_rate=0.1", r"did you mean 'optimizer\.learning_rate'\?"),
        ("epochs", r"--set 'epochs': expected field=value"),
        ("epochs=many", r"recipe field epochs 'many': expected a whole number"),
        ("epochs=0", r"recipe field epochs 0: expected a whole number of 1 or more"),
        ("channels_last=1", r"recipe field channels_last 1: expected true or false"),
        ("precision=half", r"precision 'half': expected one of auto, fp32, bf16, fp16"),
        ("model.architecture=resnet81", r"model\.architecture 'resnet81': .*did you mean 'resnet"),
        ("optimizer.momentum=1", r"optimizer\.momentum 1\.0: expected a number from 0 up to 1"),
    ],
)
def test_a_wrong_correction_is_named(correction: str, message: str) -> None:
    """The message has the field, the value, and what was meant or expected."""
    with pytest.raises(UnusableInput, match=message):
        read_recipe(Path("drawn"), [correction])


def test_an_unknown_field_in_the_file_is_named(tmp_path: Path) -> None:
    """A recipe file is checked like a correction."""
    (tmp_path / "mine.toml").write_text("[optimizer]\nmomentun = 0.9\n")
    with pytest.raises(
        UnusableInput, match=r"recipe field 'optimizer\.momentun': unknown; did you mean 'optimizer\.momentum'"
    ):
        read_recipe(tmp_path / "mine.toml")


def test_a_recipe_that_is_not_there_is_named() -> None:
    """The message lists what comes with keyart."""
    with pytest.raises(UnusableInput, match=r"recipe drwan: No such file.*did you mean 'drawn'"):
        read_recipe(Path("drwan"))


def test_recipes_that_differ_have_different_digests() -> None:
    """In any table; the same choices have the same digest."""
    corrections = ["epochs=3", "seed=1", "model.activation=mish", "preprocess.method=pad", "objective.mixup=0.2"]
    digests = {read_recipe(Path("drawn"), [correction]).digest() for correction in corrections}
    assert len(digests) == len(corrections)
    assert read_recipe(Path("drawn"), ["epochs=3"]).digest() in digests
