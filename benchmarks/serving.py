"""How many requests a second does the server answer over HTTP, and how long does an answer take at 70 % of that?

Method: each server is a process tree of its own on loopback with the same int8 model and the same predictor; a load
generator (``benchmarks.load``) in another process sends one real poster a request over kept-alive connections. First,
in shuffled rounds, a closed loop of 64 connections: the throughput, beside bulk scoring of the same posters without
HTTP, which is the roof. Then, in shuffled rounds again, an open loop at 70 % of each server's own throughput: latency
from the time at which a request was due, so that a stall is charged to every request that would have come meanwhile.
Server and client share the cores; the client's CPU time is not the server's, but the server cannot have it either, so
it is said.

Why it comes out so: a request costs HTTP and queueing in the event loop beside the network's arithmetic, so full
batches and few copies decide. Ray Serve passes each request through a proxy and a replica in processes of their own,
LitServe through queues between processes and base64, and both pay for it on the same cores.

Command: ``keyart bench serving OUT --posters FOLDER``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from benchmarks.environments import interpreter
from benchmarks.findings import Findings, Role, Row, disturbance, rows_of
from benchmarks.laps import ROOT, LapProcess, LocalLaps
from benchmarks.load import percentile
from benchmarks.machine import installed
from benchmarks.scoring import LAPS
from benchmarks.timing import Lap, faster
from benchmarks.tree import MemoryWatch, births, cpu_s, end
from benchmarks.workbench import ARCHITECTURE, Workbench, set_up
from crawler.errors import WorkFailed
from serving.engine import Precision

if TYPE_CHECKING:
    from benchmarks.findings import Options
    from benchmarks.timing import Contender, Series

OURS: Final = "keyart"
RAY: Final = "Ray Serve, @serve.batch"
LIT: Final = "LitServe"
ROOF: Final = "bulk scoring"
POSTERS: Final = 1000
CONNECTIONS: Final = 64
REQUESTS: Final = {OURS: 1500, RAY: 800, LIT: 800}
"""Of a lap of the closed loop."""
OPEN_S: Final = 5.0
"""How long a lap of the open loop lasts."""
LOAD: Final = 0.7
START_S: Final = 180.0
"""Within which a server must answer."""
GOALS: Final = {"roof": 0.9, "p99_ms": 150.0}
MODULES: Final = {OURS: "serving_keyart", RAY: "serving_ray", LIT: "serving_lit"}
DIALECTS: Final = {OURS: ("/v1/predict", "image/jpeg"), RAY: ("/", "image/jpeg"), LIT: ("/predict", "application/json")}
"""Path, and content type of a request; JSON carries the poster as base64."""
PACKAGES: Final = ("uvicorn", "fastapi", "ray", "openvino", "httptools", "uvloop")


@dataclass(slots=True)
class Server:
    """One server that is up."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    plan: dict[str, Any]
    """For the load generator, but for how many requests and how fast."""
    requests: int
    shares: list[float] = field(default_factory=list[float])
    """Of the processors, that the client took, lap by lap of the closed loop."""
    latencies_s: list[list[float]] = field(default_factory=list[list[float]])
    """Lap by lap of the open loop."""
    late_s: list[float] = field(default_factory=list[float])
    failed: int = 0

    @property
    def client_share(self) -> float:
        """Of the processors, that the client took in the median lap; the first of several was a warm-up."""
        return statistics.median(self.shares[1:] or self.shares)

    def lap(self) -> Lap:
        """Answer a closed loop."""
        before_s = cpu_s(self.process.pid)
        with MemoryWatch(self.process.pid) as watch:
            seen = self.load(requests=self.requests)
        if seen["failed"]:
            msg = (
                f"benchmark peer {self.name}: {seen['failed']} of {self.requests} requests failed; {self._last_words()}"
            )
            raise WorkFailed(msg)
        self.shares.append(seen["cpu_s"] / seen["wall_s"] / len(os.sched_getaffinity(0)))
        used_s = cpu_s(self.process.pid) - before_s
        return Lap(wall_s=seen["wall_s"], cpu_s=used_s, peak_bytes=watch.peak_bytes)

    def open_lap(self, rate: float, seconds: float) -> None:
        """Answer requests that come at their own time."""
        seen = self.load(requests=max(20, round(rate * seconds)), rate=rate)
        self.latencies_s.append(seen["latencies_s"])
        self.late_s.append(seen["late_s"])
        self.failed += seen["failed"]

    def load(self, **how: float) -> dict[str, Any]:
        """Run the load generator once."""
        command = [sys.executable, "-m", "benchmarks.load", json.dumps({**self.plan, **how})]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - ours
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["no word"])[-1]
            msg = f"benchmark peer {self.name}: the load generator failed ({words}); {self._last_words()}"
            raise WorkFailed(msg)
        return json.loads(done.stdout)

    def wait(self) -> None:
        """Wait until it answers a poster.

        Raises:
            WorkFailed: It ended, or did not answer in time.
        """
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            if _is_open(self.port) and not self.load(requests=1)["failed"]:
                return
            time.sleep(0.5)
        msg = f"benchmark peer {self.name}: did not answer within {START_S:.0f} s; {self._last_words()}"
        raise WorkFailed(msg)

    def _last_words(self) -> str:
        self.errors.seek(0)
        return (self.errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1][-300:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End it and whatever it started: some servers leave their workers behind."""
        started = births(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=20)
        end(started)
        self.process.wait()
        self.errors.close()


def measure(options: Options) -> Findings:
    """Set the servers beside each other and beside bulk scoring.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A server did not come up, or did not answer every request of a closed loop.
    """
    precision = Precision.FP32 if options.quick else Precision.INT8
    bench = set_up(options, POSTERS)
    bench.fit_head()
    bench.export_models((precision,))
    model = bench.model(precision)
    pythons, missing = _pythons(options)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(start(name, model, python, options, bench)) for name, python in pythons.items()
        }
        chunks = [[str(chunk.folder), chunk.name] for chunk in bench.chunks(LAPS[precision])]
        job = {"model": str(model), "chunks": chunks, "threads": options.threads, "out": str(options.scratch / "bulk")}
        local = LocalLaps("scoring_keyart", job) if options.quick else None
        bulk = local or stack.enter_context(LapProcess(ROOF, "scoring_keyart", job))
        for server in servers.values():
            server.wait()
        contenders: dict[str, Contender] = {**servers, ROOF: bulk}
        units = {name: server.requests for name, server in servers.items()} | {ROOF: bench.posters}
        series = options.take_turns(contenders, units)
        _open_rounds(servers, series, options)
        versions = {**bulk.versions, **installed(PACKAGES), **_lit_version(pythons)}
    extra = {name: _extra(server, series) for name, server in servers.items()}
    cell = {"model": f"{ARCHITECTURE} in {precision} at {bench.size}"}
    rows = rows_of(series, cell, {OURS: Role.OURS, ROOF: Role.ROOF}, unit="requests", extra=extra)
    return Findings(
        rows=rows,
        inputs=bench.inputs,
        method=(
            f"{CONNECTIONS} kept-alive connections in the closed loop; batches of at most 16 that wait 4 ms in every "
            f"server; latency in an open loop of {OPEN_S:.0f} s a round at {LOAD:.0%} of each server's own throughput, "
            f"Poisson arrivals, {options.threads} threads. Server and client share the cores: *client CPU* is the "
            "share "
            "of them that the load generator took in the closed loop."
        ),
        verdict=tuple(_verdict(rows, series, servers)),
        missing=missing,
        disturbed=disturbance(series, "serving"),
        repeated=series.repeated,
        versions=versions,
    )


def start(name: str, model: Path, python: Path, options: Options, bench: Workbench) -> Server:
    """Start a server; ``Server.wait`` waits until it is up."""
    port, (path, kind) = _free_port(), DIALECTS[name]
    bodies = _bodies(bench, options.scratch / f"requests-{MODULES[name]}", base64=kind == "application/json")
    errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    command = [str(python), "-m", f"benchmarks.peers.{MODULES[name]}", str(model), str(port), str(options.threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
    )
    plan = {"address": ("127.0.0.1", port), "path": path, "type": kind, "bodies": bodies, "connections": CONNECTIONS}
    requests = 40 if options.quick else REQUESTS[name]
    return Server(name=name, port=port, process=process, errors=errors, plan=plan, requests=requests)


def _open_rounds(servers: dict[str, Server], series: Series, options: Options) -> None:
    """Measure latency, in an order that is shuffled for each round; the first round is a warm-up and not kept."""
    order, chance = list(servers), random.Random(1)  # noqa: S311 - an order, not a secret
    for turn in range(options.rounds + 1):
        chance.shuffle(order)
        for name in order:
            rate = LOAD * series.measurements[name].units_per_s
            servers[name].open_lap(rate, 0.5 if options.quick or turn == 0 else OPEN_S)
        if turn:
            options.advance(1)
    for server in servers.values():
        del server.latencies_s[0], server.late_s[0]


def _extra(server: Server, series: Series) -> dict[str, float | str]:
    every = [latency for lap in server.latencies_s for latency in lap]
    return {
        "70 % load, requests/s": LOAD * series.measurements[server.name].units_per_s,
        "p50, ms": 1000 * percentile(every, 0.5),
        "p99, ms": 1000 * percentile(every, 0.99),
        "p99 by round, ms": " ".join(f"{1000 * percentile(lap, 0.99):.0f}" for lap in server.latencies_s),
        "failed": float(server.failed),
        "client late p99, ms": 1000 * max(server.late_s),
        "client CPU": f"{server.client_share:.0%}",
    }


def _verdict(rows: tuple[Row, ...], series: Series, servers: dict[str, Server]) -> list[str]:
    found = series.measurements
    own, share = found[OURS], faster(found[OURS], found[ROOF])
    extra = next(row.extra for row in rows if row.name == OURS)
    client = servers[OURS].client_share
    throughput = (
        f"keyart answers {own.units_per_s:,.0f} requests/s, {share.value:.1%} of bulk scoring ({share.low:.1%} to "
        f"{share.high:.1%}; goal {GOALS['roof']:.0%}), while the client takes {client:.0%} of the same cores."
    )
    latency = (
        f"At {LOAD:.0%} of that it answers in {extra['p50, ms']:.0f} ms in the middle and {extra['p99, ms']:.0f} ms "
        "for "
        f"99 of 100 (goal {GOALS['p99_ms']:.0f} ms)."
    )
    rivals = [name for name in (RAY, LIT) if name in found]
    times = [f"It answers {faster(own, found[name])} times as many requests a second as {name}." for name in rivals]
    return [throughput, latency, *times]


def _pythons(options: Options) -> tuple[dict[str, Path], dict[str, str]]:
    """Find an interpreter for each server, or the reason why there is none."""
    here = Path(sys.executable)
    if options.quick:
        return {OURS: here}, dict.fromkeys((RAY, LIT), "left out of a quick run")
    try:
        return {OURS: here, RAY: here, LIT: interpreter("litserve", options.cache)}, {}
    except WorkFailed as error:
        return {OURS: here, RAY: here}, {LIT: str(error)}


def _lit_version(pythons: dict[str, Path]) -> dict[str, str]:
    if LIT not in pythons:
        return {}
    ask = "from importlib.metadata import version; print(version('litserve'))"
    done = subprocess.run([str(pythons[LIT]), "-c", ask], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return {"litserve": done.stdout.strip()}


def _bodies(bench: Workbench, folder: Path, *, base64: bool) -> list[str]:
    """Write the bodies of requests, one a poster; the load generator reads files."""
    from base64 import b64encode  # noqa: PLC0415 - one server alone wants it

    from crawler.records import Reason  # noqa: PLC0415 - as this function does

    folder.mkdir()
    paths: list[str] = []
    for chunk in bench.chunks(1):
        with chunk.open() as posters:
            for place in range(min(len(posters), 500)):
                body = posters.read(place)
                if isinstance(body, Reason):
                    continue
                paths.append(str(folder / f"{place}.bin"))
                wrapped = json.dumps({"image": b64encode(body).decode()}).encode() if base64 else body
                Path(paths[-1]).write_bytes(wrapped)
    return paths


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
