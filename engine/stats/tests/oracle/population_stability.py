"""Population stability by NumPy's quantiles, pandas' bins and SciPy's divergence and chi-square distribution.

Enters: nothing. Leaves: fixtures/population_stability.csv, one pair of samples a line (an empty place is a missing value).

    python -m pip install -r requirements.txt && python population_stability.py
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import kl_div
from scipy.stats import chi2

FIXTURES = Path(__file__).parent / "fixtures"
GENERATOR = np.random.default_rng(2_018)


def text(values):
    return ";".join("" if np.isnan(value) else f"{value:.11g}" for value in values)


def counts(values, cut_points):
    ends = [-np.inf, *cut_points, np.inf]
    table = pd.Series(pd.cut(values, ends, labels=False)).value_counts(dropna=False)
    return [int(table.get(bin, 0)) for bin in range(len(ends) - 1)] + [int(np.isnan(values).sum())]


def case(index):
    expected_units, actual_units = GENERATOR.integers(3, 160, 2)
    shift, spread = GENERATOR.choice([0, 0, 0.3, 1]), GENERATOR.choice([1, 1, 1.5])
    training = GENERATOR.normal(0, 1, expected_units)
    now = GENERATOR.normal(shift, spread, actual_units)
    digits = [3, 0, 1][index % 3]
    training, now = np.round(training, digits) + 0.0, np.round(now, digits) + 0.0
    if index % 2:
        training[1:][GENERATOR.random(expected_units - 1) < 0.1] = np.nan
        now[1:][GENERATOR.random(actual_units - 1) < 0.2] = np.nan
    cut_points = np.unique(np.nanquantile(training, np.arange(1, 10) / 10, method="inverted_cdf"))
    cut_points = cut_points[cut_points < np.nanmax(training)]
    expected, actual = np.array(counts(training, cut_points)), np.array(counts(now, cut_points))
    used = (expected > 0) | (actual > 0)
    shares = [(own[used] + 0.5) / (own[used] + 0.5).sum() for own in (expected, actual)]
    index_value = (kl_div(*shares) + kl_div(*shares[::-1])).sum()
    unit, freedom = 1 / expected_units + 1 / actual_units, used.sum() - 1
    return {
        "training": text(training),
        "now": text(now),
        "cut_points": text(cut_points),
        "expected": text(expected),
        "actual": text(actual),
        "index": f"{index_value:.11g}",
        "p": f"{chi2.sf(index_value / unit, freedom):.11g}" if freedom else "",
        "critical": f"{chi2.isf(0.05, freedom) * unit:.11g}" if freedom else "",
        "by_chance": f"{chi2.mean(freedom) * unit:.11g}" if freedom else "0",
    }


def main():
    lines = [case(index) for index in range(90)]
    with (FIXTURES / "population_stability.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
