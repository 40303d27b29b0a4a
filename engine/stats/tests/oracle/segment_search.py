"""Honest segment search: the rule written out, with SciPy's and statsmodels' tests.

Enters: nothing; random segments come from a fixed seed. Leaves: fixtures/segment_search.csv, one line a selected
segment and one ("all") for the selected segments together.

    python -m pip install -r requirements.txt && python segment_search.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

FIXTURES = Path(__file__).parent / "fixtures"
RATE, ALPHA = 0.1, 0.05


def proportion_test(half):
    (c, m), (t, n) = half
    if (c + t) in (0, m + n):
        return t / n - c / m, 0.0, 1.0
    z, p = proportions_ztest([t, c], [n, m])
    return t / n - c / m, z, p


def score_interval(c, m, t, n, alpha):
    """The score test turned round, the rates under each difference by solving the likelihood's equation."""

    def z(value):
        slope = lambda p: t / (p + value) - (n - t) / (1 - p - value) + c / p - (m - c) / (1 - p)
        edge = 1e-13
        p = optimize.brentq(slope, max(0, -value) + edge, min(1, 1 - value) - edge, xtol=1e-16, rtol=1e-15)
        q = p + value
        return (t / n - c / m - value) / np.sqrt(q * (1 - q) / n + p * (1 - p) / m)

    middle, critical = t / n - c / m, stats.norm.isf(alpha / 2)
    radius = 6 * np.sqrt(effect(((c, m), (t, n)))[1])
    low = optimize.brentq(lambda value: z(value) - critical, middle - radius, middle, xtol=1e-14)
    high = optimize.brentq(lambda value: z(value) + critical, middle, middle + radius, xtol=1e-14)
    return low, high


def effect(half):
    """Difference and squared standard error, with variances divided by n − 1."""
    (c, m), (t, n) = half
    square = lambda x, size: np.var(np.r_[np.ones(x), np.zeros(size - x)], ddof=1) / size
    return t / n - c / m, square(c, m) + square(t, n)


def contrast(halves, index):
    own, variance = effect(halves[index])
    others = [half for place, half in enumerate(halves) if place != index]
    sizes = np.array([half[0][1] + half[1][1] for half in others], float)
    shares = sizes / sizes.sum()
    effects, variances = np.array([effect(half) for half in others]).T
    return own - shares @ effects, variance + (shares**2) @ variances


def test(halves, index, question):
    if question == "none":
        return proportion_test(halves[index])
    difference, variance = contrast(halves, index)
    z = difference / np.sqrt(variance)
    return difference, z, 2 * stats.norm.sf(abs(z))


def together(halves, indices):
    """Post-stratified difference with Miratrix, Sekhon and Yu's variance."""
    sizes = np.array([halves[index][0][1] + halves[index][1][1] for index in indices], float)
    shares = sizes / sizes.sum()
    effects, variances = np.array([effect(halves[index]) for index in indices]).T
    mean = shares @ effects
    return mean, np.sqrt((shares**2) @ variances + shares @ (effects - mean) ** 2 / sizes.sum())


def analyse(discovery, estimation, question):
    places = range(len(discovery))
    results = [test(discovery, index, question) for index in places]
    one_sided = np.array([p / 2 if z > 0 else 1 - p / 2 for _, z, p in results])
    adjusted = multipletests(one_sided, method="fdr_bh")[1]
    selected = sorted((index for index in places if adjusted[index] < RATE), key=lambda index: one_sided[index])
    if not selected:
        return
    p_values = np.array([test(estimation, index, question)[2] for index in selected])
    holm = multipletests(p_values, method="holm")[1]
    order = np.argsort(p_values, kind="stable")
    # The level at which Holm's step-down procedure holds each hypothesis, the last one tested for those after it.
    level, finding, levels = ALPHA, True, np.empty(len(selected))
    for rank, place in enumerate(order):
        if finding:
            level = ALPHA / (len(selected) - rank)
            finding = p_values[place] < level
        levels[place] = level
    for place, index in enumerate(selected):
        (c, m), (t, n) = estimation[index]
        if question == "none":
            middle = t / n - c / m
            low, high = score_interval(c, m, t, n, levels[place])
        else:
            middle, variance = contrast(estimation, index)
            radius = stats.norm.isf(levels[place] / 2) * np.sqrt(variance)
            low, high = middle - radius, middle + radius
        yield index, one_sided[index], adjusted[index], holm[place], middle, low, high
    if len(selected) > 1:
        yield "all", "", "", "", *together(estimation, selected), ""


def random_searches(generator):
    for number in range(60):
        segments = int(generator.integers(2, 25))
        question = "none" if number % 3 else "rest"
        shift = generator.choice([0, 0, 0, 0.03, 0.06], segments)
        base = generator.uniform(0.05, 0.3, segments)
        halves = []
        for _ in range(2):
            half = []
            for rate, gain in zip(base, shift):
                sizes = generator.integers(200, 3_000, 2)
                counts = generator.binomial(sizes, [rate, rate + gain])
                half.append([(int(c), int(n)) for c, n in zip(counts, sizes)])
            halves.append(half)
        flat = [";".join(str(x) for segment in half for arm in segment for x in arm) for half in halves]
        lines = list(analyse(*halves, question)) or [("none", "", "", "", "", "", "")]
        for line in lines:
            cells = [line[0], *(x if x == "" else float(f"{x:.11g}") for x in line[1:])]
            yield [number, question, *flat, *cells]


if __name__ == "__main__":
    with (FIXTURES / "segment_search.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "case,question,discovery,estimation,index,one_sided,adjusted,holm,difference,low,high"
        writer.writerow(names.split(","))
        # The counts of a case are on its first line only.
        last = None
        for line in random_searches(np.random.default_rng(20_260)):
            if line[0] == last:
                line[2] = line[3] = ""
            last = line[0]
            writer.writerow(line)
