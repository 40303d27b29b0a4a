"""The analysis of an A/B test over a table with one row a unit, beside tea-tasting and gbstats.

Three metrics (a share, a mean, a ratio of sums), adjusted for one covariate known before (CUPED), each also in 50 segments,
from a Parquet file to the results: what an analyst asks of `sendlift experiment analyze --units`. The peers answer the same
from aggregates of one pass, made by DuckDB or by Polars.

Whether the answers agree is told in standard errors of sendlift's difference: by how many the differences and the ends of
their 95 % intervals lie apart, and the z values that belong to the p values.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

import experiment_peers
from experiment_peers import ANALYSES, CONTROL, CUPED, OVERALL
from measure import MIB, OWN, Command, Timing, measure, median_of, read_through, say, sendlift_version, table

METRICS = ("conversion", "revenue:mean", "orders:ratio=sessions")
SHARE = "conversion"
# Most standard errors that answers may lie apart. Means and ratios have the same formulas everywhere.
SAME_FORMULA = 1e-6
# A share's intervals are sendlift's by scores, the peers' by the normal approximation, which come together as units grow;
# gbstats' test does not pool the arms. The differences are the same.
SHARES_OVERALL, SHARES_IN_SEGMENTS = 0.01, 0.1
# CUPED's slope is that within the arms here, that over both arms there; a ratio's is another for each arm here.
ADJUSTED = 0.01
# Beyond this z a p value has lost its digits to rounding in one library or the other.
MOST_Z = 7.0
LINES_SHOWN = 20


@dataclass(frozen=True)
class Answer:
    """A difference with its 95 % interval and its p value."""

    difference: float
    low: float
    high: float
    p_value: float


# Of each metric and part: overall, adjusted, or a segment.
Answers = dict[tuple[str, str], Answer]


@dataclass(frozen=True)
class Analysis(Timing):
    """One run of one engine with what it answered."""

    answers: Answers = field(default_factory=dict)


def run_sendlift(binary: Path, units: Path, scratch: Path) -> Analysis:
    """The analysis by sendlift, the whole process counting."""
    command: Command = [
        *(binary, "experiment", "analyze", "--units", units, "--arm", "arm", "--control", CONTROL),
        *("--metric", ",".join(METRICS), "--covariate", "before", "--segment", "segment", "--format", "json"),
    ]
    measured = measure(command, scratch)
    answers: Answers = {}

    def add(metric: str, part: str, found: dict) -> None:
        held = found["difference"]
        answers[metric, part] = Answer(held["estimate"], held["low"], held["high"], found["p_value"])

    for metric in json.loads(measured.output)["metrics"]:
        name, (comparison,) = metric["metric"], metric["comparisons"]
        add(name, OVERALL, comparison)
        add(name, CUPED, comparison["adjusted"])
        for segment in metric["segments"]:
            (of_segment,) = segment["comparisons"]
            add(name, segment["segment"]["segment"], of_segment)
    version = sendlift_version(binary)
    return Analysis(OWN, version, measured.wall, measured.wall, measured.cpu, measured.memory, answers)


def run_peer(peer: str, units: Path, threads: int, scratch: Path) -> Analysis:
    """The analysis by a peer, in a process of its own."""
    command: Command = [sys.executable, experiment_peers.__file__, "analyze", peer, units, "--threads", str(threads)]
    measured = measure(command, scratch)
    answer = json.loads(measured.output.splitlines()[-1])
    answers = {(metric, part): Answer(*numbers) for metric, part, *numbers in answer["rows"]}
    return Analysis(peer, answer["versions"], answer["seconds"], measured.wall, measured.cpu, measured.memory, answers)


def z_of(p_value: float) -> float:
    """The z whose two-sided p value it is, no more than [`MOST_Z`]."""
    least = 2 * NormalDist().cdf(-MOST_Z)
    return -NormalDist().inv_cdf(max(p_value, least) / 2)


def tolerance(metric: str, part: str, what: str) -> float:
    """The most standard errors that two answers may lie apart."""
    if part == CUPED:
        return ADJUSTED
    if metric == SHARE and what != "difference":
        return SHARES_OVERALL if part == OVERALL else SHARES_IN_SEGMENTS
    return SAME_FORMULA


def apart(own: Answer, other: Answer) -> dict[str, float]:
    """How many standard errors two answers lie apart."""
    standard_error = (own.high - own.low) / (2 * NormalDist().inv_cdf(0.975))
    return {
        "difference": abs(own.difference - other.difference) / standard_error,
        "interval": max(abs(own.low - other.low), abs(own.high - other.high)) / standard_error,
        "p value": abs(z_of(own.p_value) - z_of(other.p_value)),
    }


def require_agreement(runs: Sequence[Analysis]) -> str:
    """Ends the program unless every run answers the same; else says how closely."""
    own = next(run for run in runs if run.is_own)
    lines, most = [], {"plain": 0.0, "share": 0.0, CUPED: 0.0}
    if not own.answers:
        lines.append("sendlift answers nothing")
    for run in runs:
        # gbstats adjusts no ratios.
        lacking = own.answers.keys() - run.answers.keys() - {("orders", CUPED)}
        lines += [f"{run.engine}: no answer for {metric}, {part}" for metric, part in sorted(lacking)]
        for metric, part in sorted(run.answers.keys() & own.answers.keys()):
            answer = run.answers[metric, part]
            for what, distance in apart(own.answers[metric, part], answer).items():
                limit = tolerance(metric, part, what)
                kind = CUPED if part == CUPED else "plain" if limit == SAME_FORMULA else "share"
                most[kind] = max(most[kind], distance)
                if not distance <= limit or math.isnan(distance):
                    lines.append(
                        f"{metric}, {part}: the {what} of {run.engine} is {distance:.2g} standard errors off, more than "
                        f"{limit}: {answer} against {own.answers[metric, part]}"
                    )
    if lines:
        shown = [*lines[:LINES_SHOWN], *([f"… and {len(lines) - LINES_SHOWN} more"] if len(lines) > LINES_SHOWN else [])]
        raise SystemExit("\n  ".join(["the engines disagree:", *shown]))
    return (
        f"All agree on {len(own.answers)} comparisons. Furthest apart, in standard errors: {most['plain']:.0e} where the "
        f"formulas are the same, {most['share']:.4f} in intervals and tests of shares, {most[CUPED]:.4f} in adjusted results."
    )


def process_ratios(results: dict[str, list[Analysis]]) -> dict[str, str]:
    """The time of the whole process to that of the fastest peer, by engine."""
    best = min(median_of(runs, "wall") for runs in results.values() if not runs[0].is_own)
    return {name: f"{median_of(runs, 'wall') / best:.2f}" for name, runs in results.items()}


def compare(binary: Path, units: int, runs: int, threads: int, scratch: Path) -> str:
    """Makes a table of units, has everybody analyse it in turn, checks that they agree; returns the Markdown of it."""
    path = scratch / "units.parquet"
    say(f"making {units:,} units")
    measure([sys.executable, experiment_peers.__file__, "make", path, "--units", str(units)], scratch)
    size = read_through([path])
    results: dict[str, list[Analysis]] = {name: [] for name in (OWN, *ANALYSES)}
    for number in range(runs):
        for name in results:
            run = run_sendlift(binary, path, scratch) if name == OWN else run_peer(name, path, threads, scratch)
            results[name].append(run)
            say(f"{units:,} units, run {number + 1}: {name} {run.wall:.2f} s, {run.memory / MIB:,.0f} MiB")
    path.unlink()
    agreed = require_agreement([run for all_runs in results.values() for run in all_runs])
    ratios = {"process to best peer": process_ratios(results)}
    title = f"### {units:,} units, {size / MIB:,.0f} MiB of Parquet"
    return f"{title}\n\n{table(results, 'file to result', ratios)}\n\n{agreed}\n"
