"""The verbs `catalog`, `crawl` and `archive`: thin skins over `crawler.catalog`, `.cluster` and `.audit`."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crawler.audit import ArchiveStats, VerifyReport, stats, verify
from crawler.catalog import CatalogReport, clean, read_raw, scan_catalog, write_catalog
from crawler.cluster import CrawlReport
from crawler.cluster import crawl as crawl_catalog
from crawler.crawl import CrawlOptions
from crawler.duplicates import POSTER_DISTANCE, DuplicatesReport, duplicates
from crawler.fetch import USER_AGENT, FetchOptions
from crawler.frontier import TMDB_IMAGE_BASE, Selection
from crawler.monitor import metrics_served
from crawler.progress import progress_bar
from crawler.records import Reason
from crawler.removal import RemovalReport, remove


def catalog(raw: Path, *, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> CatalogReport:
    """Clean raw movie metadata into a catalogue, and count what each rule dropped.

    Example: `keyart catalog movies_metadata.csv -o catalog.parquet`

    Args:
        raw: The 24-column CSV of The Movies Dataset, or the same rows as .csv.gz, .jsonl, .jsonl.gz or .parquet.
        output: Parquet file of the catalogue.
    """
    movies, report = clean(read_raw(raw))
    write_catalog(movies, output)
    return dataclasses.replace(report, catalog=str(output))


def crawl(
    catalog: Path,
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    image_base: str = TMDB_IMAGE_BASE,
    rate: float = 20.0,
    connections: int = 20,
    limit: int | None = None,
    genres: Annotated[str, Parameter(negative="")] = "",
    per_genre: int | None = None,
    workers: int = 2,
    shard_size: int = 1000,
    retry_failed: str | None = None,
    refresh: Annotated[bool, Parameter(negative="")] = False,
    user_agent: str = USER_AGENT,
    ignore_robots: Annotated[bool, Parameter(negative="")] = False,
    insecure_host: str | None = None,
    allow_private: Annotated[bool, Parameter(negative="")] = False,
    metrics_port: int | None = None,
) -> CrawlReport:
    """Fetch a catalogue's posters into an archive of shards; the same command again resumes.

    Example: `keyart crawl catalog.parquet -o archive --genres comedy,horror --per-genre 1000`

    Args:
        catalog: Catalogue written by `keyart catalog`.
        output: Folder of the archive, or its URL: `s3://bucket/archive` or `gs://bucket/archive`.
        image_base: URL in front of each poster path.
        rate: Requests per second over all workers; `inf` for no limit, 1 for a small site.
        connections: Connections open at once over all workers.
        limit: At most so many movies, the most popular first.
        genres: Only movies whose first genre is one of these, with commas between.
        per_genre: At most so many movies of each first genre, the most popular first.
        workers: Shards in work at once, each in a process of its own.
        shard_size: Posters per shard; what an interruption costs at most.
        retry_failed: Ask again only for posters that failed: `all`, or reasons with commas between, like `timeout,dns`.
        refresh: Ask again only for posters that are stored; what has not changed is not sent.
        user_agent: Who asks, as `product/version (contact)`; robots.txt is read for this product.
        ignore_robots: Do not read robots.txt; only for hosts whose owner agreed.
        insecure_host: The one host whose TLS certificate is not verified.
        allow_private: Also fetch from loopback and private addresses, like a server on this machine.
        metrics_port: Serve progress to Prometheus on this port of the loopback address.
    """
    options = CrawlOptions(
        image_base=image_base,
        rate=rate,
        connections=connections,
        workers=workers,
        shard_size=shard_size,
        retry_failed=_reasons(retry_failed),
        refresh=refresh,
        selection=Selection(
            limit=limit, genres=tuple(genre for genre in genres.split(",") if genre.strip()), per_genre=per_genre
        ),
        fetch=FetchOptions(
            user_agent=user_agent,
            ignore_robots=ignore_robots,
            insecure_host=insecure_host,
            allow_private=allow_private,
        ),
    )
    movies = scan_catalog(catalog)
    with progress_bar("posters", total=None) as advance, metrics_served(metrics_port) as observe:
        return crawl_catalog(movies, output, options, advance, observe)


def archive_verify(folder: str) -> VerifyReport:
    """Read every byte of an archive and compare it with its sidecars.

    Example: `keyart archive verify archive`

    Args:
        folder: Archive written by `keyart crawl`, or its URL.
    """
    with progress_bar("shards", total=None) as advance:
        return verify(folder, advance)


def archive_stats(folder: str) -> ArchiveStats:
    """Count an archive's posters by status and reason, with sizes, duplicates and throughput.

    Example: `keyart archive stats archive`

    Args:
        folder: Archive written by `keyart crawl`, or its URL.
    """
    return stats(folder)


def archive_duplicates(folder: str, *, distance: int = POSTER_DISTANCE) -> DuplicatesReport:
    """Group an archive's near-identical posters: re-encoded, resized, or used for several movies.

    Example: `keyart archive duplicates archive --json`

    Args:
        folder: Archive written by `keyart crawl`, or its URL.
        distance: Bits of 64 in which the dhash of two such posters may differ.
    """
    return duplicates(folder, distance)


def archive_remove(folder: str, *movie_ids: int) -> RemovalReport:
    """Take posters out of an archive for good; their rows stay, with the reason `removed`.

    Example: `keyart archive remove archive 862 8844`

    Args:
        folder: Archive written by `keyart crawl`, or its URL.
        movie_ids: TMDb ids of the posters.
    """
    return remove(folder, movie_ids)


def _reasons(words: str | None) -> tuple[str, ...]:
    """Read the reasons of `--retry-failed`."""
    if words is None:
        return ()
    return (
        tuple(set(Reason) - {Reason.REMOVED})
        if words.strip() == "all"
        else tuple(word.strip() for word in words.split(",") if word.strip())
    )
