"""Posters in order -> the bytes of a WebDataset tar, the same ones for the same posters.

The members are those that ``tarfile`` writes in USTAR format, with a fixed owner, mode and time; one poster costs a few
microseconds here, and over a hundred there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from typing import BinaryIO

    from crawler.records import PosterRecord

BLOCK_BYTES: Final = 512
RECORD_BYTES: Final = 20 * BLOCK_BYTES
"""A tar is padded to a multiple of this."""

_NAME_BYTES: Final = 100
_LARGEST_BYTES: Final = 8**11 - 1


def _header_around(name: bytes, size: bytes, checksum: bytes) -> bytes:
    """Lay out one USTAR header.

    Source:
        POSIX.1-1988, the ustar interchange format.
    """
    owner = b"0000000\0"
    return b"".join(
        (
            name.ljust(_NAME_BYTES, b"\0"),
            b"0000644\0",
            owner,
            owner,
            size,
            b"00000000000\0",
            checksum,
            b"0".ljust(101, b"\0"),  # a regular file that is no link
            b"ustar\x0000".ljust(8 + 64, b"\0"),  # owner's names are empty
            bytes(183),
        )
    )


_BLANK_SUM: Final = sum(_header_around(b"", b"", b" " * 8))
"""What all headers have in common; the checksum is taken with spaces in its own place."""


def member(name: str, body: bytes) -> bytes:
    """Make one tar member: header, bytes and padding.

    Args:
        name: At most 100 ASCII characters.
        body: At most 8 GiB.

    Example:
        >>> len(member("862.jpg", b"x"))
        1024
    """
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_BYTES or len(body) > _LARGEST_BYTES:
        msg = f"tar member {name[:120]} of {len(body)} bytes: expected at most {_NAME_BYTES} characters and 8 GiB"
        raise ValueError(msg)
    size = b"%011o\0" % len(body)
    checksum = b"%06o\0 " % (_BLANK_SUM + sum(encoded) + sum(size))
    return b"".join((_header_around(encoded, size, checksum), body, bytes(-len(body) % BLOCK_BYTES)))


class Extent(NamedTuple):
    """Where a poster's own bytes are in its tar."""

    offset_bytes: int
    size_bytes: int


class TarWriter:
    """Writes posters one after the other, each with the card that describes it."""

    def __init__(self, stream: BinaryIO) -> None:
        """Start a tar at the beginning of an empty stream."""
        self._stream = stream
        self._end_bytes = 0

    def add(self, record: PosterRecord, body: bytes) -> Extent:
        """Append ``{movie_id}.jpg`` and ``{movie_id}.json``."""
        picture = member(f"{record.movie_id}.jpg", body)
        card = member(f"{record.movie_id}.json", sample_card(record))
        extent = Extent(self._end_bytes + BLOCK_BYTES, len(body))
        self._stream.write(picture)
        self._stream.write(card)
        self._end_bytes += len(picture) + len(card)
        return extent

    def close(self) -> int:
        """Write the end of the tar; the stream stays open.

        Returns:
            Bytes of the tar.
        """
        end_bytes = self._end_bytes + 2 * BLOCK_BYTES
        end_bytes += -end_bytes % RECORD_BYTES
        self._stream.write(bytes(end_bytes - self._end_bytes))
        return end_bytes


def sample_card(record: PosterRecord) -> bytes:
    """Describe a poster by what follows from its bytes and its request alone, so that shards are reproducible."""
    return (
        f'{{"movie_id":{record.movie_id},"height":{record.height},"width":{record.width},'
        f'"sha256":"{record.sha256}","dhash":"{record.dhash:016x}"}}'
    ).encode()
