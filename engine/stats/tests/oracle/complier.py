"""The complier average causal effect by two-stage least squares, and Fieller's set of effects.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/complier.csv (values of small arms, and what
NumPy and SciPy make of them), and golden numbers on standard output: Outvote (Schein et al. 2021) from the counts of
its published file. The classical standard error comes from the matrices of two-stage least squares; the ends of
Fieller's set are the roots of its quadratic.

    python -m pip install -r requirements.txt && python complier.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURES = Path(__file__).parent / "fixtures"

# assigned, delivered: (units, voted)
OUTVOTE = {
    "all": {(1, 1): (54774, 39753), (1, 0): (130405, 92352), (0, 1): (1309, 942), (0, 0): (8630, 6109)},
    "early": {(1, 1): (11105, 8804), (1, 0): (14905, 11713), (0, 1): (251, 202), (0, 0): (1203, 901)},
}


def two_stage(outcome, delivered, assigned):
    """Coefficient and classical standard error, by the matrices."""
    one = np.ones(len(outcome))
    exposures, instruments = np.c_[one, delivered], np.c_[one, assigned]
    fitted = instruments @ np.linalg.lstsq(instruments, exposures, rcond=None)[0]
    coefficient = np.linalg.lstsq(fitted, outcome, rcond=None)[0]
    residuals = outcome - exposures @ coefficient
    variance = np.linalg.inv(fitted.T @ fitted) * (residuals @ residuals) / (len(outcome) - 2)
    return coefficient[1], variance[1, 1] ** 0.5


def analyse(outcome, delivered, assigned, alpha):
    effect, classical = two_stage(outcome, delivered, assigned)
    arms = [(outcome[assigned == arm], delivered[assigned == arm]) for arm in (0, 1)]
    (y_c, d_c), (y_t, d_t) = arms
    noise = sum(np.cov(y, d) / len(y) for y, d in arms)
    difference, share = y_t.mean() - y_c.mean(), d_t.mean() - d_c.mean()
    residual = [np.var(y - effect * d, ddof=1) / len(y) for y, d in arms]
    error = sum(residual) ** 0.5 / abs(share)
    test = stats.ttest_ind(y_t, y_c, equal_var=False)
    critical = stats.t.isf(alpha / 2, test.df)
    quadratic = [
        share**2 - critical**2 * noise[1, 1],
        -2 * (difference * share - critical**2 * noise[0, 1]),
        difference**2 - critical**2 * noise[0, 0],
    ]
    roots = sorted(np.roots(quadratic))
    if np.iscomplexobj(np.array(roots)):
        shape, roots = "everything", ["", ""]
    else:
        shape = "bounded" if quadratic[0] > 0 else "two_rays"
    return effect, error, classical, test.pvalue, share, shape, *roots


def units(cells):
    rows = [np.repeat([[1.0, d, a], [0.0, d, a]], [voted, n - voted], axis=0) for (a, d), (n, voted) in cells.items()]
    return np.concatenate(rows).T


def random_cases(generator):
    for number in range(160):
        assigned, delivered, outcome = [], [], []
        uptake = generator.choice([0.15, 0.5, 0.9])
        crossover = 0.0 if number % 2 else 0.1
        for arm in (0, 1):
            n = int(generator.integers(12, 40))
            received = generator.random(n) < (uptake if arm else crossover)
            value = np.round(generator.exponential(5, n) + generator.choice([0, 3, 12]) * received, 2)
            assigned += [arm] * n
            delivered += list(received.astype(float))
            outcome += list(value)
        outcome, delivered, assigned = map(np.array, (outcome, delivered, assigned))
        share = delivered[assigned == 1].mean() - delivered[assigned == 0].mean()
        if abs(share) < 1e-9:
            continue
        alpha = float(generator.choice([0.2, 0.05, 0.01]))
        groups = [outcome[(assigned == a) & (delivered == d)] for a in (0, 1) for d in (1, 0)]
        values = [";".join(str(float(value)) for value in group) for group in groups]
        yield [*values, alpha, *analyse(outcome, delivered, assigned, alpha)]


if __name__ == "__main__":
    for name, cells in OUTVOTE.items():
        print(name, *(value if isinstance(value, str) else float(value) for value in analyse(*units(cells), 0.05)))
    with (FIXTURES / "complier.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "control_delivered,control_undelivered,treatment_delivered,treatment_undelivered,alpha"
        writer.writerow(f"{names},effect,error,classical,p,compliance,shape,low,high".split(","))
        writer.writerows(random_cases(np.random.default_rng(20_244)))
