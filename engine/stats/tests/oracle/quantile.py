"""Quantiles by NumPy and the binomial distribution of SciPy.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/quantile.csv and golden numbers on standard output.

    python -m pip install -r requirements.txt && python quantile.py
"""

import csv
import math
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURES = Path(__file__).parent / "fixtures"


def ranks(n, share, alpha):
    """(low, high, probability outside); a rank is None where no order statistic is far enough."""
    # low: the greatest rank with P(B <= low - 1) <= alpha / 2; high: the least with P(B >= high) <= alpha / 2.
    low = high = None
    outside = 0.0
    for rank in range(1, n + 1):
        tail = stats.binom.cdf(rank - 1, n, share)
        if tail > alpha / 2:
            break
        low, below = rank, tail
    for rank in range(n, 0, -1):
        tail = stats.binom.sf(rank - 1, n, share)
        if tail > alpha / 2:
            break
        high, above = rank, tail
    if low is not None and high is not None:
        outside = below + above
    return low, high, outside


def spread(values, low, high, outside):
    """Zero where the units of these ranks share so few values that the quantile jumps from one to the next."""
    values = np.sort(values)
    different = len(np.unique(values[low - 1 : high]))
    units = high - low + 1
    ends = [np.count_nonzero(values == values[rank - 1]) for rank in (low, high)]
    if (different < 10 and 2 * different < units) or max(ends) > units:
        return 0.0
    return (values[high - 1] - values[low - 1]) / (2 * stats.norm.isf(outside / 2))


def compare(control, treatment, share, alpha, errors, clusters=None):
    difference = np.quantile(treatment, share) - np.quantile(control, share)
    error = math.hypot(*errors)
    law = stats.norm
    if clusters is not None:
        squares = [own**2 for own in errors]
        law = stats.t(sum(squares) ** 2 / sum(square**2 / (n - 1) for square, n in zip(squares, clusters)))
    z = law.isf(alpha / 2)
    p = 2 * law.sf(abs(difference) / error)
    return [difference, error, p, difference - z * error, difference + z * error]


def clustered_error(clusters, share):
    values = np.sort(np.concatenate(clusters))
    n, quantile = len(values), np.quantile(values, share)
    below = np.array([(cluster <= quantile).sum() for cluster in clusters], float)
    sizes = np.array([len(cluster) for cluster in clusters], float)
    linear = (below - below.sum() / sizes.sum() * sizes) / sizes.mean()
    reach = stats.norm.isf(0.025) * math.sqrt(linear.var(ddof=1) / len(clusters))
    low, high = math.floor(n * (share - reach)), math.ceil(n * (share + reach)) + 1
    return spread(values, low, high, 0.05)


def random_cases(generator):
    for _ in range(200):
        arms = []
        share = float(generator.choice([0.1, 0.25, 0.5, 0.75, 0.9]))
        alpha = float(generator.choice([0.2, 0.05, 0.01]))
        for _ in range(2):
            n = int(generator.integers(8, 60))
            values = generator.choice([generator.normal(5, 3, n), generator.gamma(1, 8, n), generator.poisson(4, n)])
            arms.append(np.round(values, 2))
        row = [share, alpha, *(";".join(f"{value:g}" for value in arm) for arm in arms)]
        low, high, _ = ranks(len(arms[0]), share, alpha)
        ordered = np.sort(arms[0])
        row += [np.quantile(arms[0], share)]
        row += ["" if rank is None else float(ordered[rank - 1]) for rank in (low, high)]
        found = [ranks(len(arm), share, 0.05) for arm in arms]
        usable = all(rank[0] is not None and rank[1] is not None for rank in found)
        errors = [spread(arm, *rank) if usable else 0.0 for arm, rank in zip(arms, found)]
        row += compare(*arms, share, alpha, errors) if min(errors) > 0 else [""] * 5
        yield row


def golden():
    for n in (6, 15, 25, 50, 99, 1000):
        print("ranks of the median", n, *ranks(n, 0.5, 0.05))
    print("ranks of 0.99, n 100", *ranks(100, 0.99, 0.05))
    control, treatment = np.arange(1.0, 100), 20 + 1.5 * np.arange(1.0, 81)
    errors = [spread(arm, *ranks(len(arm), 0.5, 0.05)) for arm in (control, treatment)]
    print("medians: difference, error, p, low, high", *map(repr, map(float, compare(control, treatment, 0.5, 0.05, errors))))
    arms = []
    for shift in (0.0, 6.0):
        levels = [(recipient * 37) % 31 + shift for recipient in range(30)]
        arms.append([np.array([level, level + 0.25, level + 0.5]) for level in levels])
    errors = [clustered_error(arm, 0.5) for arm in arms]
    flat = [np.concatenate(arm) for arm in arms]
    print("clustered", *map(repr, map(float, compare(*flat, 0.5, 0.05, errors, [len(arm) for arm in arms]))))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    header = "share,alpha,control,treatment,estimate,rank_low,rank_high,difference,error,p,low,high"
    with (FIXTURES / "quantile.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        for row in random_cases(np.random.default_rng(20240605)):
            writer.writerow([f"{float(cell):.11g}" if isinstance(cell, float) else cell for cell in row])
    golden()
