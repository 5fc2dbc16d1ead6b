"""The doctor reports what it tried, and what does not work is a finding, not an error."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from crawler.errors import UnusableInput
from serving.doctor import _tried, examine

if TYPE_CHECKING:
    from serving.summaries import DoctorReport


@pytest.fixture(scope="module")
def findings() -> DoctorReport:
    """This machine, examined."""
    return examine()


def test_the_default_path_works(findings: DoctorReport) -> None:
    """Reference and native preparation, OpenVINO and torch really ran here, within their bounds."""
    assert findings.preparers["reference"].works
    assert findings.preparers["native"].works
    assert findings.engines["openvino"].works
    assert findings.engines["torch"].works
    assert "fp32" in findings.engines["openvino"].note


def test_versions_are_the_installed_ones(findings: DoctorReport) -> None:
    """Every version is what the package itself states; a package that is not there is not listed."""
    assert all(metadata.version(name) == version for name, version in findings.packages.items())
    assert ("tensorrt" in findings.packages) == (importlib.util.find_spec("tensorrt") is not None)


def test_what_is_missing_comes_with_how_to_get_it(findings: DoctorReport) -> None:
    """A part without its package is listed under `missing` with a command."""
    if "tensorrt" not in findings.packages:
        assert "keyart[gpu]" in findings.missing["tensorrt"]
    assert set(findings.missing).isdisjoint(findings.packages)


def test_the_screen_names_every_part(findings: DoctorReport) -> None:
    """One screen: each preparer and engine has a line with whether it works."""
    screen = str(findings)
    assert len(screen.splitlines()) < 40
    for name, finding in {**findings.preparers, **findings.engines}.items():
        line = next(line for line in screen.splitlines() if line.startswith(f"  {name}"))
        assert ("works" in line) == finding.works


@pytest.mark.parametrize("error", [ImportError("libcuda.so.1: not there"), UnusableInput("no GPU"), OSError("denied")])
def test_a_part_that_fails_is_a_finding(error: Exception) -> None:
    """A library that cannot be loaded or refuses ends as one line, and the others are still tried."""

    def attempt() -> str:
        raise error

    told: list[str] = []
    finding = _tried(attempt, lambda _, note="": told.append(note), "part")
    assert (finding.works, finding.note, told) == (False, str(error), ["part"])
