"""A tar is the one that the standard library writes, byte for byte."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as some

from crawler.tars import member


@given(some.integers(0, 10**18), some.sampled_from(["jpg", "json"]), some.binary(max_size=1500))
def test_a_member_is_that_of_tarfile(movie_id: int, suffix: str, body: bytes) -> None:
    """The same header, the same padding."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(f"{movie_id}.{suffix}")
        entry.size, entry.mode = len(body), 0o644
        tar.addfile(entry, io.BytesIO(body))
    ours = member(f"{movie_id}.{suffix}", body)
    assert stream.getvalue()[: len(ours)] == ours
    assert not any(stream.getvalue()[len(ours) :])


def test_what_the_format_cannot_hold_is_refused() -> None:
    """A name of more than 100 characters would need another format."""
    with pytest.raises(ValueError, match="expected at most 100 characters"):
        member("1" * 101, b"")
