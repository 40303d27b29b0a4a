"""Scores of a real campaign, learnt from one half and judged on the other: sendlift beside causalml, scikit-uplift, LightGBM and
scikit-learn.

Hillstrom (2008): 64,000 customers in three arms drawn at random. *Uplift*: what the women's e-mail adds to visits, against no e-mail.
*Propensity*: who visits, in all arms, the arm being a feature. Each split shuffles the units and cuts them in the middle; everybody
learns from the first half alone, and scores the second.

The same code judges everybody. Qini is the area between the Qini curve and the diagonal, per unit, as sendlift has it; the
normalised one is scikit-uplift's `qini_auc_score`. Differences are sendlift's less the peer's on the same splits; their intervals are
those of Nadeau and Bengio (2003), which know that the splits share units.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import score_peers
from measure import OWN, Command, measure, say, sendlift_version
from score_peers import PROPENSITY, UPLIFT

UNIT, TARGET, ARM = "recipient_id", "visit", "segment"
CONTROL, TREATMENT = "No E-Mail", "Womens E-Mail"
AFTERWARDS = ("conversion", "spend")
# The 97.5 % quantile of Student's t, by degrees of freedom.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 19: 2.093}

Judge = Callable[[Path, Path], dict[str, float]]


@dataclass(frozen=True)
class Judged:
    """One split by one engine: the measures by name, and the seconds that it took."""

    version: str
    measures: dict[str, float]
    seconds: float
    chosen: str = ""


def qini(outcome: Any, treated: Any, score: Any) -> float:
    """The area between the Qini curve and the diagonal, per unit, in units of the outcome; equal scores are one block."""
    import numpy as np

    order = np.argsort(-score, kind="stable")
    score, treated, outcome = score[order], treated[order].astype(float), outcome[order].astype(float)
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    n_t, s_t = np.cumsum(treated)[ends], np.cumsum(treated * outcome)[ends]
    n_c, s_c = np.cumsum(1 - treated)[ends], np.cumsum((1 - treated) * outcome)[ends]
    share_treated = treated.mean()
    brought = (s_t - np.divide(s_c * n_t, n_c, out=np.zeros(len(n_c)), where=n_c > 0)) / (len(score) * share_treated)
    at, height = np.append(0, (ends + 1) / len(score)), np.append(0, brought)
    return float(np.trapezoid(height - at * height[-1], at))


def judge_uplift(test: Path, scores: Path) -> dict[str, float]:
    """How well scores rank units by what the message adds."""
    import warnings

    table = read(test, scores)
    treated = (table[ARM] == TREATMENT).to_numpy().astype(int)
    outcome, score = table[TARGET].to_numpy(), table["score"].to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklift.metrics import qini_auc_score

        normalised = float(qini_auc_score(outcome, score, treated))
    return {"Qini": 1_000 * qini(outcome, treated, score), "normalised Qini": normalised}


def judge_propensity(test: Path, scores: Path) -> dict[str, float]:
    """How well scores rank units by their outcome, and what their probabilities lose."""
    import numpy as np
    from sklearn.metrics import log_loss, roc_auc_score

    table = read(test, scores)
    outcome, score = table[TARGET].to_numpy(), table["score"].to_numpy()
    loss = log_loss(outcome, np.clip(score, 1e-12, 1 - 1e-12))
    return {"area": float(roc_auc_score(outcome, score)), "log loss": float(loss)}


def read(test: Path, scores: Path) -> Any:
    """The units to judge by with their scores."""
    import polars as pl

    table = pl.read_parquet(test).join(pl.read_parquet(scores).select(UNIT, "score"), on=UNIT)
    if len(table) != len(pl.read_parquet(test)):
        raise SystemExit("not every unit has one score")
    return table


def run_sendlift(binary: Path, task: str, train: Path, test: Path, seed: int, scratch: Path) -> tuple[Path, str, float]:
    """Scores by sendlift; also which model it chose, and the seconds of the whole process."""
    out = scratch / "own.parquet"
    command: list[str | Path] = [binary, "score", "--units", train, "--unit", UNIT, "--target", TARGET, "--apply", test]
    command += ["--out", out, "--seed", str(seed), "--format", "json", *(f"--exclude={column}" for column in AFTERWARDS)]
    if task == "uplift":
        command += ["--arm", ARM, "--control", CONTROL, "--treatment", TREATMENT]
    measured = measure(command, scratch)
    return out, json.loads(measured.output)["summary"]["model"]["method"], measured.wall


def run_peer(task: str, peer: str, train: Path, test: Path, threads: int, scratch: Path) -> tuple[Path, str, float]:
    """Scores by a peer; also its version, and the seconds of fitting and scoring."""
    out = scratch / "peer.parquet"
    roles = {"unit": UNIT, "target": TARGET, "exclude": AFTERWARDS}
    if task == "uplift":
        roles |= {"arm": ARM, "control": CONTROL}
    command: Command = [
        *(sys.executable, score_peers.__file__, task, peer, train, test, out),
        *(json.dumps(roles), "--threads", str(threads)),
    ]
    answer = json.loads(measure(command, scratch).output.splitlines()[-1])
    return out, answer["version"], answer["fit"] + answer["score"]


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean difference over random halves (Nadeau and Bengio 2003)."""
    n = len(differences)
    # As many units to judge by as to learn from.
    spread = statistics.stdev(differences) * (1 / n + 1) ** 0.5 * STUDENT.get(n - 1, 2.0)
    mean = statistics.mean(differences)
    return mean - spread, mean + spread


def markdown(results: dict[str, list[Judged]], digits: dict[str, int], differing: Sequence[str]) -> str:
    """The table: mean and standard deviation over the splits, and sendlift's less the peer's of some measures."""
    own = results[OWN]
    columns = ["engine", "version", *(f"{name}, mean ± sd" for name in digits)]
    columns += [f"{name}: sendlift less it" for name in differing]
    lines = ["| " + " | ".join(columns) + " |", "| --- | --- |" + " ---: |" * (len(columns) - 2)]
    for engine, runs in results.items():
        cells = [engine, runs[0].version]
        for name, places in digits.items():
            values = [run.measures[name] for run in runs]
            cells.append(f"{statistics.mean(values):.{places}f} ± {statistics.stdev(values):.{places}f}")
        for name in differing:
            differences = [mine.measures[name] - its.measures[name] for mine, its in zip(own, runs, strict=True)]
            low, high = interval(differences)
            told = f"{statistics.mean(differences):+.{digits[name]}f} [{low:+.{digits[name]}f}, {high:+.{digits[name]}f}]"
            cells.append("" if engine == OWN else told)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Over the splits sendlift chose " + ", ".join(run.chosen for run in own) + "."]
    return "\n".join(lines)


def compare(binary: Path, units: Path, seeds: Sequence[int], threads: int, scratch: Path) -> str:
    """Both comparisons; returns the Markdown of them."""
    tasks: dict[str, tuple[Sequence[str], Judge, dict[str, int], Sequence[str]]] = {
        "uplift": (list(UPLIFT), judge_uplift, {"Qini": 2, "normalised Qini": 4}, ["Qini"]),
        "propensity": (list(PROPENSITY), judge_propensity, {"area": 4, "log loss": 4}, ["area", "log loss"]),
    }
    titles = {
        "uplift": f"### Uplift: {TREATMENT} against {CONTROL}, {TARGET}; Qini in visits per thousand units",
        "propensity": f"### Propensity: {TARGET}, all arms; area under the curve",
    }
    parts = []
    for task, (peers, judge, digits, differing) in tasks.items():
        results: dict[str, list[Judged]] = {name: [] for name in (OWN, *peers)}
        for seed in seeds:
            train, test = scratch / "train.parquet", scratch / "test.parquet"
            only = ["--only", f"{ARM}={CONTROL},{TREATMENT}"] if task == "uplift" else []
            cut: Command = [sys.executable, score_peers.__file__, "split", units, train, test, "--seed", str(seed), *only]
            measure(cut, scratch)
            for name in results:
                if name == OWN:
                    out, chosen, seconds = run_sendlift(binary, task, train, test, seed, scratch)
                    judged = Judged(sendlift_version(binary), judge(test, out), seconds, chosen)
                else:
                    out, version, seconds = run_peer(task, name, train, test, threads, scratch)
                    judged = Judged(version, judge(test, out), seconds)
                results[name].append(judged)
                told = ", ".join(f"{measure} {value:.4f}" for measure, value in judged.measures.items())
                say(f"{task}, split {seed}: {name} {judged.chosen} {told}, {judged.seconds:.1f} s")
        parts.append(f"{titles[task]}\n\n{markdown(results, digits, differing)}")
    return "\n\n".join(parts) + "\n"
