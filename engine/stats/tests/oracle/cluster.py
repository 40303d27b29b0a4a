"""Cluster-robust comparisons by their definitions in matrices, unit by unit.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/cluster.csv and golden numbers on standard output.

- CR2: Bell and McCaffrey (2002). Residuals of each cluster times (I - H)^(-1/2) by its eigenvalues; degrees of freedom
  from the matrix of the quadratic form under independent units. Nothing of the closed form in cluster.rs is used.
- Wild cluster bootstrap: least squares on a constant (the hypothesis imposed), signs by cluster, t by CR2.

    python -m pip install -r requirements.txt && python cluster.py
"""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURES = Path(__file__).parent / "fixtures"
MASK = (1 << 64) - 1


class Design:
    """Units of two arms in clusters; `control` and `treatment` hold the numbers of units."""

    def __init__(self, control, treatment):
        sizes = [*control, *treatment]
        ends = np.cumsum([0, *sizes])
        self.slices = [slice(ends[i], ends[i + 1]) for i in range(len(sizes))]
        arm = np.repeat([0.0] * len(control) + [1.0] * len(treatment), sizes)
        self.x = np.column_stack([np.ones(len(arm)), arm])
        self.treated = arm
        self.bread = np.linalg.inv(self.x.T @ self.x)
        hat = self.x @ self.bread @ self.x.T
        leave = np.eye(len(arm)) - hat
        contrast = np.array([0.0, 1.0])
        self.columns = []
        for part in self.slices:
            values, vectors = np.linalg.eigh(leave[part, part])
            root = vectors @ np.diag([1 / math.sqrt(v) if v > 1e-10 else 0.0 for v in values]) @ vectors.T
            # c' (X'X)^-1 X_g' A_g, so that the variance is the sum of squares of these times residuals.
            self.columns.append(contrast @ self.bread @ self.x[part].T @ root)
        rows = np.array([column @ leave[part] for column, part in zip(self.columns, self.slices)])
        matrix = rows @ rows.T
        self.df = np.trace(matrix) ** 2 / np.trace(matrix @ matrix)

    def fit(self, y):
        beta = self.bread @ self.x.T @ y
        residuals = y - self.x @ beta
        variance = sum((column @ residuals[part]) ** 2 for column, part in zip(self.columns, self.slices))
        return beta[1], math.sqrt(variance), beta[0]

    def signs(self, vector):
        return np.concatenate([np.full(part.stop - part.start, sign) for part, sign in zip(self.slices, vector)])

    def wild(self, y, hypothesis, vectors, drawn):
        effect, error, _ = self.fit(y)
        t = abs(effect - hypothesis) / error
        moved = y - hypothesis * self.treated
        mean = moved.mean()
        extreme = total = 0
        for vector in vectors:
            beta, error_star, _ = self.fit(mean + self.signs(vector) * (moved - mean))
            total += 1
            extreme += abs(beta) >= t * error_star * (1 - 1e-9)
        return (extreme + 1) / (total + 1) if drawn else extreme / total


def spread(sizes, totals, generator):
    """Units that add up to the totals; the spread within a cluster does not matter."""
    parts = []
    for size, total in zip(sizes, totals):
        noise = generator.normal(0, 1, size)
        parts.append(total / size + noise - noise.mean())
    return np.concatenate(parts)


def all_signs(clusters):
    return itertools.product([1.0, -1.0], repeat=clusters)


def split_mix(counter):
    mixed = (counter + 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


def drawn_signs(seed, replicates, clusters):
    for replicate in range(replicates):
        word = split_mix(split_mix(split_mix(seed) ^ replicate) ^ 0)
        yield [-1.0 if (word >> cluster) & 1 else 1.0 for cluster in range(clusters)]


def random_cases(generator):
    for case in range(200):
        few = case % 8 == 0
        counts = generator.integers(2, 5 if few else 14, 2)
        sizes = [[int(size) for size in 1 + generator.poisson(generator.uniform(0.5, 6), n)] for n in counts]
        totals = [
            [float(f"{size * generator.normal(5 + 2 * arm, 2) + generator.normal():.5g}") for size in arm_sizes]
            for arm, arm_sizes in enumerate(sizes)
        ]
        design = Design(*sizes)
        y = spread([*sizes[0], *sizes[1]], [*totals[0], *totals[1]], generator)
        difference, error, _ = design.fit(y)
        critical = stats.t.isf(0.025, design.df)
        wild = design.wild(y, 0.0, all_signs(len(y_parts(sizes))), False) if few else None
        p = 2 * stats.t.sf(abs(difference) / error, design.df)
        row = [";".join(map(str, sizes[0])), ";".join(f"{t:g}" for t in totals[0])]
        row += [";".join(map(str, sizes[1])), ";".join(f"{t:g}" for t in totals[1])]
        row += [difference, error, design.df, p, difference - critical * error, difference + critical * error]
        yield [*row, "" if wild is None else wild]


def y_parts(sizes):
    return [*sizes[0], *sizes[1]]


def golden():
    generator = np.random.default_rng(1)
    sizes, totals = ([3, 5, 2, 9, 4], [6, 2, 4, 7]), ([6.0, 4, 7, 12, 3], [21.0, 5, 13, 30])
    design = Design(*sizes)
    y = spread([*sizes[0], *sizes[1]], [*totals[0], *totals[1]], generator)
    print("small: difference, CR2 error, df", *map(repr, map(float, (*design.fit(y)[:2], design.df))))
    for hypothesis in (0.0, 1.0, 4.5):
        print("  wild p at", hypothesis, design.wild(y, hypothesis, all_signs(9), False))

    # The ends of the interval: the last hypotheses with p of at least 0.05, by bisection.
    effect = float(design.fit(y)[0])
    for outside in (-20.0, 20.0):
        inside = effect
        for _ in range(40):
            middle = (outside + inside) / 2
            if design.wild(y, middle, all_signs(9), False) >= 0.05:
                inside = middle
            else:
                outside = middle
        print("  wild end", repr(inside))
    arm = [2 + index % 5 for index in range(12)]
    waves = [((index * 37) % 11 - 5) * 0.3 for index in range(12)]
    totals = [size * (10 + wave) for size, wave in zip(arm, waves)], [
        size * (10 + 0.7 + wave) for size, wave in zip(arm, waves)
    ]
    y = spread([*arm, *arm], [*totals[0], *totals[1]], generator)
    print("drawn", Design(arm, arm).wild(y, 0.0, drawn_signs(7, 999, 24), True))
    print("splitmix", hex(split_mix(0)), hex(split_mix(0x9E3779B97F4A7C15)))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    with (FIXTURES / "cluster.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow("units_c,totals_c,units_t,totals_t,difference,error,df,p,low,high,wild_p".split(","))
        for row in random_cases(np.random.default_rng(20240603)):
            writer.writerow([f"{cell:.11g}" if isinstance(cell, float) else cell for cell in row])
    golden()
