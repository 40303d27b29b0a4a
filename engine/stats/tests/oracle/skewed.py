"""Winsorised and logarithmic comparisons by NumPy and SciPy.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/skewed.csv. The limit is counted down the sorted
values of both arms; Welch's test is SciPy's.

    python -m pip install -r requirements.txt && python skewed.py
"""

import csv
import math
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURES = Path(__file__).parent / "fixtures"


def revenue(generator):
    n = int(generator.integers(8, 45))
    values = np.round(generator.lognormal(2, 1.5, n), 2)
    values[generator.random(n) < generator.uniform(0, 0.5)] = 0.0
    return values


def random_cases(generator):
    for case in range(200):
        control, treatment = revenue(generator), revenue(generator)
        share = float(f"{generator.uniform(0, 0.3):.3f}")
        kind = ("share", "nonzero")[case % 2]
        values = np.sort(np.concatenate([control, treatment]))
        if kind == "nonzero":
            values = values[values != 0]
        limit = values[len(values) - 1 - math.floor(len(values) * share)]
        cut = [np.minimum(arm, limit) for arm in (control, treatment)]
        test = stats.ttest_ind(cut[1], cut[0], equal_var=False)
        ends = test.confidence_interval(0.95)
        logs = stats.ttest_ind(np.log1p(treatment), np.log1p(control), equal_var=False)
        log_ends = logs.confidence_interval(0.95)
        yield [
            kind,
            share,
            ";".join(f"{value:g}" for value in control),
            ";".join(f"{value:g}" for value in treatment),
            limit,
            int((control > limit).sum()),
            int((treatment > limit).sum()),
            (control - cut[0]).sum() / control.sum() if control.sum() > 0 else "",
            cut[1].mean() - cut[0].mean(),
            test.pvalue,
            ends.low,
            ends.high,
            logs.pvalue,
            math.expm1(log_ends.low),
            math.expm1(log_ends.high),
        ]


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    header = "kind,share,control,treatment,limit,cut_c,cut_t,value_cut_c,difference,p,low,high,log_p,log_low,log_high"
    with (FIXTURES / "skewed.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        for row in random_cases(np.random.default_rng(20240607)):
            writer.writerow([f"{float(cell):.11g}" if isinstance(cell, float) else cell for cell in row])
