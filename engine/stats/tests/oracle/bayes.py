"""Chances to win and expected losses of independent beta and normal posteriors, with credible intervals.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/bayes_proportions.csv and
fixtures/bayes_means.csv. Integrals are SciPy's quad on the scale of the rate itself, between quantiles of every arm,
over SciPy's own densities and distribution functions.

    python -m pip install -r requirements.txt && python bayes.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from scipy import integrate, stats

FIXTURES = Path(__file__).parent / "fixtures"
QUANTILES = (1e-13, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-4, 1 - 1e-6, 1 - 1e-9, 1 - 1e-13)
warnings.simplefilter("ignore")


def outlooks(arms, low, high):
    points = sorted({float(arm.ppf(q)) for arm in arms for q in QUANTILES} | {low, high})
    points = [point for point in points if low <= point <= high]
    chances, losses = [], []
    for index, arm in enumerate(arms):
        others = [other for number, other in enumerate(arms) if number != index]

        def win(x):
            return arm.pdf(x) * np.prod([other.cdf(x) for other in others])

        def loss(x):
            return arm.cdf(x) * -np.expm1(np.sum([other.logcdf(x) for other in others]))

        pieces = list(zip(points, points[1:]))
        chances.append(sum(integrate.quad(win, *piece, epsabs=1e-14, epsrel=1e-12)[0] for piece in pieces))
        losses.append(sum(integrate.quad(loss, *piece, epsabs=1e-14, epsrel=1e-12)[0] for piece in pieces))
    return chances, losses


def join(values):
    return ";".join(repr(float(value)) if isinstance(value, float) else str(value) for value in values)


def random_proportions(generator):
    for _ in range(120):
        prior = [(1.0, 1.0), (0.5, 0.5), (2.0, 30.0)][int(generator.integers(3))]
        rate = generator.choice([0.02, 0.2, 0.6])
        n = [int(10 ** generator.uniform(1, 4)) for _ in range(int(generator.integers(2, 5)))]
        successes = [int(generator.binomial(units, rate)) for units in n]
        arms = [stats.beta(prior[0] + x, prior[1] + units - x) for x, units in zip(successes, n)]
        chances, losses = outlooks(arms, 0.0, 1.0)
        summary = arms[0].mean(), arms[0].ppf(0.025), arms[0].ppf(0.975)
        yield [*prior, join(n), join(successes), join(chances), join(losses), *summary]


def random_means(generator):
    for _ in range(120):
        count = int(generator.integers(2, 5))
        spreads = [float(10 ** generator.uniform(-1, 1)) for _ in range(count)]
        means = [float(generator.normal(0, 3)) for _ in range(count)]
        arms = [stats.norm(mean, spread) for mean, spread in zip(means, spreads)]
        low = min(mean - 9 * spread for mean, spread in zip(means, spreads))
        high = max(mean + 9 * spread for mean, spread in zip(means, spreads))
        chances, losses = outlooks(arms, low, high)
        yield [join(means), join(spreads), join(chances), join(losses)]


def write(name, columns, rows):
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns.split(","))
        writer.writerows(rows)


if __name__ == "__main__":
    generator = np.random.default_rng(20_243)
    columns = "prior_successes,prior_failures,n,successes,chances,losses,mean,low,high"
    write("bayes_proportions.csv", columns, random_proportions(generator))
    write("bayes_means.csv", "means,spreads,chances,losses", random_means(generator))
