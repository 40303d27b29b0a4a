"""Features, training and scoring, in time and memory, beside DuckDB and Polars, LightGBM and scikit-learn.

*Features*: one row a recipient as of the end of generated logs: `sendlift features` from its store, the peers by one query over the
raw Parquet logs (`feature_peers.py` says what they leave out). What does not hang on the machine-click rules must be equal.

*Training*: a table of simulated units with 25 features. sendlift fits trees and a regression, calibrates and judges both, and chooses,
all of which its time counts, with the reading of the file; of the peers it is the fit alone, on numbers that are in memory. All are
judged by the same units that nobody learnt from.

*Scoring*: units a second by a model that is there: the whole process of sendlift, with reasons, tenths and drift, from file to file; of
the peers the prediction alone. And recipients a second from a store, from the logs to the file: features, scores, who may be sent to.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import feature_peers
import score_peers
from features import LOGS, TIMES, iso, other_bits, rows_of, same
from measure import MIB, OWN, Command, Timing, apart, generate, measure, median_of, read_through, say, sendlift_version, table
from score_peers import PROPENSITY

# Rows of a file that is scored for its model alone.
FEW = 1_000
HORIZON = 20


@dataclass(frozen=True)
class Trained(Timing):
    """One training: how well it ranks the units to judge by, what its probabilities lose, and its rate in units a second."""

    area: float
    loss: float
    rate: float


def end_of(folder: Path) -> int:
    """The moment (microseconds since 1970) after everything in the logs."""
    import duckdb

    ends = []
    for log, column in TIMES.items():
        query = f"SELECT max(epoch_us({column})) FROM read_parquet(?)"
        ends += duckdb.execute(query, [str(folder / f"{log}.parquet")]).fetchall()
    return max(end for (end,) in ends if end is not None) + 1


def own_features(binary: Path, store: Path, at: int, out: Path, scratch: Path) -> Timing:
    """The features by sendlift, the whole process counting."""
    measured = measure([binary, "--store", store, "features", "--as-of", iso(at), "--out", out], scratch)
    return Timing(OWN, sendlift_version(binary), measured.wall, measured.wall, measured.cpu, measured.memory)


def peer_features(peer: str, folder: Path, at: int, out: Path, threads: int, scratch: Path) -> Timing:
    """The features by a peer, in a process of its own."""
    command: Command = [
        *(sys.executable, feature_peers.__file__, peer, folder, out),
        *("--at", str(at), "--threads", str(threads)),
    ]
    measured = measure(command, scratch)
    answer = json.loads(measured.output.splitlines()[-1])
    return Timing(peer, answer["version"], answer["seconds"], measured.wall, measured.cpu, measured.memory)


def disagreements(own: Path, others: dict[str, Path]) -> tuple[int, list[str]]:
    """The number of recipients, and what peers have otherwise, features of clicks apart: the first cell of each feature."""
    names, rows = rows_of(own)
    found: dict[tuple[str, str], str] = {}
    for peer, path in others.items():
        peer_names, peer_rows = rows_of(path)
        if set(names) != set(peer_names) or rows.keys() != peer_rows.keys():
            return len(rows), [f"{peer} has other recipients, or other features: {sorted(set(names) ^ set(peer_names))}"]
        places = [(place, peer_names.index(name), name) for place, name in enumerate(names)]
        compared = [place for place in places if not place[2].startswith(feature_peers.NOT_THE_SAME)]
        for recipient, cells in rows.items():
            for place, peer_place, name in compared:
                mine, other = cells[place], peer_rows[recipient][peer_place]
                # A peer has nothing where there is nothing to count.
                if not same(mine, 0.0 if other is None and mine == 0 else other):
                    found.setdefault((peer, name), f"{name} of {recipient} is {mine} in sendlift, {other} in {peer}")
    return len(rows), list(found.values())


def compare_features(binary: Path, messages: int, runs: int, threads: int, scratch: Path) -> str:
    """Generates logs and has everybody make the features; returns the Markdown of it."""
    folder, store = scratch / "logs", scratch / "store"
    generate(binary, folder, messages, "parquet", scratch)
    say("ingesting the logs")
    logs = [f"{log}={folder / f'{log}.parquet'}" for log in LOGS]
    ingested = measure([binary, "--store", store, "ingest", "--format", "json", *logs], scratch)
    at = apart(end_of, folder)
    read_through([folder / f"{log}.parquet" for log in LOGS])
    outs = {name: scratch / f"{name}.parquet" for name in (OWN, *feature_peers.PEERS)}
    results: dict[str, list[Timing]] = {name: [] for name in outs}
    for number in range(runs):
        for name, out in outs.items():
            run = (
                own_features(binary, store, at, out, scratch)
                if name == OWN
                else peer_features(name, folder, at, out, threads, scratch)
            )
            results[name].append(run)
            say(f"features, run {number + 1}: {name} {run.wall:.2f} s, {run.memory / MIB:,.0f} MiB")
    recipients, differences = apart(disagreements, outs[OWN], {name: out for name, out in outs.items() if name != OWN})
    if differences:
        raise SystemExit("\n  ".join(["the engines disagree:", *differences]))
    again = scratch / "again.parquet"
    own_features(binary, store, at, again, scratch)
    for name in apart(other_bits, outs[OWN], again):
        say(f"{name} is not the same to the last bit when it is asked for again: neither are models that are learnt from it")
    rate = from_store(binary, store, at, recipients, scratch)
    return (
        f"### Features of {recipients:,} recipients from {messages:,} messages\n\n{table(results, 'logs to features')}\n\n"
        f"Equal but for what hangs on the machine-click rules. Taking the logs into the store took sendlift {ingested.wall:.1f} s and "
        f"{ingested.memory / MIB:,.0f} MiB, once. {rate}\n"
    )


def from_store(binary: Path, store: Path, at: int, recipients: int, scratch: Path) -> str:
    """How fast recipients are scored from the logs of a store, in words."""
    out = scratch / "scores.parquet"
    asked = [binary, "--store", store, "score", "--as-of", iso(at), "--out", out, "--format", "json"]
    trained = measure([*asked, "--target", "conversion", "--horizon", str(HORIZON)], scratch)
    model = json.loads(trained.output)["model"]["id"]
    scored = measure([*asked, "--model", model], scratch)
    return (
        f"A model of conversions within {HORIZON} days is trained and everybody scored in {trained.wall:.1f} s; by the model that is "
        f"kept, {recipients / scored.wall:,.0f} recipients a second are scored from the logs to the file."
    )


def judge(test: Path, scores: Path) -> tuple[float, float]:
    """Area under the curve and log loss of the units to judge by."""
    import numpy as np
    import polars as pl
    from sklearn.metrics import log_loss, roc_auc_score

    known = pl.read_parquet(test, columns=["unit", "outcome"])
    joined = known.join(pl.read_parquet(scores, columns=["unit", "score"]), on="unit")
    outcome, score = joined["outcome"].to_numpy(), joined["score"].to_numpy()
    return float(roc_auc_score(outcome, score)), float(log_loss(outcome, np.clip(score, 1e-12, 1 - 1e-12)))


def train_own(binary: Path, train: Path, test: Path, few: Path, held_out: int, scratch: Path) -> tuple[Path, float, Timing]:
    """Trains by sendlift, then scores by the model that it kept."""
    store, out = scratch / "models", scratch / "own.parquet"
    store.mkdir(exist_ok=True)
    asked: list[str | Path] = [binary, "--store", store, "score", "--units", train, "--unit", "unit"]
    asked += ["--out", out, "--format", "json"]
    trained = measure([*asked, "--target", "outcome", "--apply", few], scratch)
    model = json.loads(trained.output)["summary"]["model"]["id"]
    scored = measure([*asked, "--apply", test, "--model", model], scratch)
    timing = Timing(OWN, sendlift_version(binary), trained.wall, trained.wall, trained.cpu, trained.memory)
    return out, held_out / scored.wall, timing


def train_peer(peer: str, train: Path, test: Path, held_out: int, threads: int, scratch: Path) -> tuple[Path, float, Timing]:
    """Trains by a peer, and scores."""
    out = scratch / "peer.parquet"
    roles = json.dumps({"unit": "unit", "target": "outcome", "exclude": []})
    command: Command = [
        *(sys.executable, score_peers.__file__, "propensity", peer, train, test, out, roles),
        *("--threads", str(threads)),
    ]
    measured = measure(command, scratch)
    answer = json.loads(measured.output.splitlines()[-1])
    timing = Timing(peer, answer["version"], answer["fit"], measured.wall, measured.cpu, measured.memory)
    return out, held_out / answer["score"], timing


def compare_training(binary: Path, units: int, runs: int, threads: int, scratch: Path) -> str:
    """Makes tables of units and has everybody learn and score; returns the Markdown of it."""
    train, test, few = (scratch / f"{name}.parquet" for name in ("train", "test", "few"))
    held_out = max(units // 5, FEW)
    say(f"making {units:,} units")
    for seed, (path, size) in enumerate(((train, units), (test, held_out), (few, FEW)), start=1):
        measure([sys.executable, score_peers.__file__, "make", path, "--units", str(size), "--seed", str(seed)], scratch)
    read_through([train, test, few])
    results: dict[str, list[Trained]] = {name: [] for name in (OWN, *PROPENSITY)}
    for number in range(runs):
        for name in results:
            out, rate, timing = (
                train_own(binary, train, test, few, held_out, scratch)
                if name == OWN
                else train_peer(name, train, test, held_out, threads, scratch)
            )
            area, loss = apart(judge, test, out)
            results[name].append(
                Trained(timing.engine, timing.version, timing.task, timing.wall, timing.cpu, timing.memory, area, loss, rate)
            )
            say(f"training, run {number + 1}: {name} {timing.task:.2f} s, area {area:.4f}, {rate:,.0f} a second")
    more = {
        "area under the curve": {name: f"{median_of(all_runs, 'area'):.4f}" for name, all_runs in results.items()},
        "log loss": {name: f"{median_of(all_runs, 'loss'):.5f}" for name, all_runs in results.items()},
        "units scored a second": {name: f"{median_of(all_runs, 'rate'):,.0f}" for name, all_runs in results.items()},
    }
    return f"### Training on {units:,} units with 25 features, judged by {held_out:,}\n\n{table(results, 'training', more)}\n"


def compare(binary: Path, messages: int, units: int, runs: int, threads: int, scratch: Path) -> Iterator[str]:
    """Both comparisons; the Markdown of each."""
    yield compare_features(binary, messages, runs, threads, scratch)
    yield compare_training(binary, units, runs, threads, scratch)
