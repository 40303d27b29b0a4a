"""Campaign plans by SciPy's quadrature and its noncentral t.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/test_and_roll.csv, fixtures/campaign_units.csv and
golden numbers on standard output. Expected maxima are integrals of 1 - F1 F2 by adaptive quadrature; the best size of a
small list is found by trying every size.

    python -m pip install -r requirements.txt && python plan_campaign.py
"""

import csv
import math
from pathlib import Path

import numpy as np
from scipy import integrate, optimize, stats

FIXTURES = Path(__file__).parent / "fixtures"
FIELDS = "list_size mean sigma s value cost_1 cost_2 opt_1 opt_2 opt_cost nothing".split()


def expected_best(first, second, deviation, nothing):
    if deviation == 0:
        return max(first, second, 0.0) if nothing else max(first, second)
    if not nothing:
        # E max = mean of the two + half the mean absolute difference.
        gap, scale = first - second, deviation * math.sqrt(2)
        folded = scale * math.sqrt(2 / math.pi) * math.exp(-((gap / scale) ** 2) / 2) + gap * (
            1 - 2 * stats.norm.cdf(-gap / scale)
        )
        return (first + second + folded) / 2
    top = max(first, second) + 10 * deviation
    if top <= 0:
        return 0.0
    inside = sorted({min(max(point, 0.0), top) for point in (first, second, first - 5 * deviation, first + 5 * deviation)})
    value, _ = integrate.quad(
        lambda x: 1 - stats.norm.cdf(x, first, deviation) * stats.norm.cdf(x, second, deviation),
        0.0,
        top,
        points=inside,
        epsabs=1e-13,
        epsrel=1e-12,
        limit=400,
    )
    return value


def profit(case, n):
    size, mean, sigma, s, value, cost_1, cost_2, opt_1, opt_2, opt_cost, nothing = case
    first = value * mean - cost_1 - opt_1 * opt_cost
    second = value * mean - cost_2 - opt_2 * opt_cost
    deviation = value * sigma**2 / math.sqrt(sigma**2 + s**2 / n) if n > 0 and sigma > 0 else 0.0
    return n * (first + second) + (size - 2 * n) * expected_best(first, second, deviation, nothing)


def best(case):
    """Every size of a small list; a bounded search between the neighbours of a fine grid for a large one."""
    most = case[0] // 2
    sizes = range(most + 1)
    if most > 400:
        grid = sorted({0, *(int(round(x)) for x in np.exp(np.linspace(0, math.log(most), 250)))})
        profits = [profit(case, n) for n in grid]
        at = int(np.argmax(profits))
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
        while high - low > 8:
            a, b = low + (high - low) // 3, high - (high - low) // 3
            low, high = (a, high) if profit(case, a) < profit(case, b) else (low, b)
        sizes = [0, *range(low, high + 1)]
    profits = [profit(case, n) for n in sizes]
    at = int(np.argmax(profits))
    return list(sizes)[at], profits[at]


def dunnett(treatments, alpha):
    def excess(c):
        value, _ = integrate.quad(
            lambda x: stats.norm.pdf(x)
            * (stats.norm.cdf(x + math.sqrt(2) * c) - stats.norm.cdf(x - math.sqrt(2) * c)) ** treatments,
            -10,
            10,
            epsabs=1e-13,
            epsrel=1e-13,
            limit=200,
        )
        return value - (1 - alpha)

    return optimize.brentq(excess, 0.5, 8, xtol=1e-13)


def t_power(variance, difference, n, alpha):
    """Of the two-sided t test of two arms of n units, by SciPy's noncentral t."""
    freedom, noncentrality = 2 * (n - 1), difference * math.sqrt(n / (2 * variance))
    critical = stats.t.isf(alpha / 2, freedom)
    return stats.nct.sf(critical, freedom, noncentrality) + stats.nct.cdf(-critical, freedom, noncentrality)


def units(kind, baseline, variance, difference, alpha, power, treatments, shared, removed, inflation):
    each = {"unshared": alpha, "bonferroni": alpha / treatments, "dunnett": None}[shared]
    if each is None:
        each = 2 * stats.norm.sf(dunnett(treatments, alpha))
    z_alpha, z_beta = stats.norm.isf(each / 2), stats.norm.ppf(power)
    if kind == "mean":
        # Both sides count, as in statsmodels.
        distance = optimize.brentq(
            lambda d: stats.norm.cdf(d - z_alpha) + stats.norm.cdf(-d - z_alpha) - power, 0, z_alpha + z_beta, xtol=1e-14
        )
        # Guenther (1981), The American Statistician 35(4): what the t test needs more, to order 1 / n.
        n = 2 * variance * distance**2 / difference**2 + z_alpha**2 / 4
        if n < 10_000:
            n = max(math.floor(n) - 3, 2)
            while t_power(variance, difference, n, each) < power:
                n += 1
    else:
        other = baseline + difference
        middle = (baseline + other) / 2
        n = (
            z_alpha * math.sqrt(2 * middle * (1 - middle))
            + z_beta * math.sqrt(baseline * (1 - baseline) + other * (1 - other))
        ) ** 2 / difference**2
    return each, math.ceil(math.ceil(n) * (1 - removed) * inflation)


def random_rolls(generator):
    for case in range(60):
        size = int(generator.integers(2, 400)) if case % 2 else int(np.exp(generator.uniform(6, 13)))
        mean = float(f"{generator.uniform(0.005, 0.3):.5f}")
        sigma = float(f"{mean * generator.uniform(0.05, 0.6):.6f}")
        s = float(f"{math.sqrt(mean * (1 - mean)):.6f}")
        value = float(f"{generator.uniform(0.5, 20):.3f}")
        costs = [float(f"{value * mean * generator.uniform(0, 1.3):.5f}") for _ in range(2)]
        if case % 3:
            costs[1] = costs[0]
        opts = [float(f"{generator.uniform(0, 0.02):.4f}")] * 2
        nothing = case % 4 < 2
        row = (size, mean, sigma, s, value, *costs, *opts, float(f"{generator.uniform(0, 3):.2f}"), nothing)
        n, earned = best(row)
        yield [*row[:-1], int(nothing), n, earned]


def random_units(generator):
    for case in range(150):
        kind = ("mean", "proportion")[case % 2]
        baseline = float(f"{generator.uniform(0.01, 0.6):.4f}")
        difference = float(f"{baseline * generator.uniform(0.05, 0.5):.5f}")
        row = [kind, baseline, float(f"{generator.uniform(0.1, 50):.3f}"), difference]
        row += [float(generator.choice([0.1, 0.05, 0.01])), float(generator.choice([0.8, 0.9, 0.95]))]
        row += [int(generator.integers(1, 6)), str(generator.choice(["unshared", "bonferroni", "dunnett"]))]
        row += [float(f"{generator.uniform(0, 0.7):.3f}"), float(f"{generator.uniform(1, 2):.4f}")]
        yield [*row, *units(*row)]


def write(name, header, rows):
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{float(cell):.12g}" if isinstance(cell, float) else cell for cell in row])


def golden():
    s = math.sqrt(0.68 * 0.32)
    noise = (s / 0.03) ** 2
    print("closed form", repr(math.sqrt(1e5 / 4 * noise + (0.75 * noise) ** 2) - 0.75 * noise))
    paper = (100_000, 0.68, 0.03, s, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    # Their own formula: (N - 2n) (mu + sigma^2 / sqrt(pi (sigma^2 + s^2 / n))) + 2 n mu.
    n = 2284
    print("profit", repr(2 * n * 0.68 + (100_000 - 2 * n) * (0.68 + 0.03**2 / math.sqrt(math.pi * (0.03**2 + s**2 / n)))))
    print("best", *best(paper))
    cost = (20_000, 0.02, 0.006, 0.14, 4.0, 0.06, 0.06, 0.01, 0.01, 2.5, True)
    print("with costs", *best(cost))
    print("longer", *best((*cost[:6], 0.09, *cost[7:-1], False)))
    for treatments in range(1, 6):
        print("dunnett", treatments, repr(dunnett(treatments, 0.05)))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    generator = np.random.default_rng(20240606)
    write("test_and_roll.csv", [*FIELDS, "per_arm", "profit"], random_rolls(generator))
    header = "kind,baseline,variance,difference,alpha,power,treatments,shared,removed,inflation,each,per_arm"
    write("campaign_units.csv", header.split(","), random_units(generator))
    golden()
