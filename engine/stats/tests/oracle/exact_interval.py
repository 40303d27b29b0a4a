"""The exact interval of the difference of two proportions that goes with Boschloo's test.

Enters: nothing; tables come from a fixed seed. Leaves: fixtures/exact_interval.csv, and golden numbers on standard
output. The definition is walked in small steps, with nothing assumed of the shape of a p value or of a set of tables:
for each difference d, the score statistic of every table (the likeliest rates by halving of the likelihood's slope),
the greatest probability of the tables at least as extreme over a dense walk of the plausible rates, and the first d,
on the way from -1, at which it is no longer below the level. Below zero the tables that Boschloo's test rejects, by
SciPy's Fisher p values, count as most extreme. The coverage of the interval is enumerated over true rates as well.

    python -m pip install -r requirements.txt && python exact_interval.py
"""

import csv
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats

FIXTURES = Path(__file__).parent / "fixtures"

# Of the error of one side, that of the region of plausible rates (Berger and Boos 1994).
OUTSIDE = 4e-5
# Differences from -1 to 0 (or 0 to 1) that are tried, and rates that are walked.
DIFFERENCES, RATES = 500, 120
# Small steps before the first difference found to be kept: a p value may rise above the level and fall below it again.
FINE, FINE_STEPS = 2e-4, 100


def tables(n_t, n_c):
    return np.arange(n_t + 1)[:, None], np.arange(n_c + 1)[None, :]


def rates_under(x_t, n_t, x_c, n_c, difference):
    """The likeliest control rate with treatment - control = difference, table by table: halving of the slope."""
    x_t, x_c = np.broadcast_arrays(np.asarray(x_t, dtype=float), np.asarray(x_c, dtype=float))
    low = np.full(x_t.shape, max(0.0, -difference))
    high = np.full(x_t.shape, min(1.0, 1.0 - difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(60):
            middle = (low + high) / 2
            first = middle + difference
            slope = np.where(x_t > 0, x_t / first, 0) - np.where(x_t < n_t, (n_t - x_t) / (1 - first), 0)
            slope += np.where(x_c > 0, x_c / middle, 0) - np.where(x_c < n_c, (n_c - x_c) / (1 - middle), 0)
            low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return (low + high) / 2


@lru_cache(maxsize=4000)
def scores(n_t, n_c, difference):
    rows, columns = tables(n_t, n_c)
    rate = rates_under(rows, n_t, columns, n_c, difference)
    other = np.clip(rate + difference, 0, 1)
    variance = other * (1 - other) / n_t + rate * (1 - rate) / n_c
    distance = rows / n_t - columns / n_c - difference
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(distance) < 1e-14, 0, distance / np.sqrt(variance))


def plausible(x, n, error):
    """Rates whose Chernoff bound on a share as far away as x / n is at least `error`."""
    excess = lambda rate: special.rel_entr(x, n * rate) + special.rel_entr(n - x, n * (1 - rate)) + np.log(error)
    low = 0.0 if x == 0 else optimize.brentq(excess, 1e-300, x / n, xtol=1e-15)
    high = 1.0 if x == n else optimize.brentq(excess, x / n, 1 - 1e-16, xtol=1e-15)
    return low, high


def binomial(n, rates):
    successes, rates = np.arange(n + 1)[None, :], np.clip(rates, 0, 1)[:, None]
    ways = special.gammaln(n + 1) - special.gammaln(successes + 1) - special.gammaln(n - successes + 1)
    return np.exp(ways + special.xlogy(successes, rates) + special.xlog1py(n - successes, -rates))


def greatest(region, difference, low, high):
    """The greatest probability of a set over control rates from low to high: a walk, closer round its best points."""
    n_t, n_c = region.shape[0] - 1, region.shape[1] - 1

    def chances(rates):
        return ((binomial(n_t, rates + difference) @ region) * binomial(n_c, rates)).sum(axis=1)

    rates = low + (high - low) * np.sin(np.linspace(0, np.pi / 2, RATES)) ** 2
    values = chances(rates)
    best = values.max()
    for point in np.argsort(values)[-3:]:
        closer = np.linspace(rates[max(point - 1, 0)], rates[min(point + 1, RATES - 1)], 41)
        best = max(best, chances(closer).max())
    return best


@cache
def rejected_by_boschloo(n_t, n_c, tail):
    """The tables that Boschloo's one-sided test for a greater treatment rate rejects."""
    rows, columns = tables(n_t, n_c)
    fisher = stats.hypergeom.sf(rows - 1, n_t + n_c, rows + columns, n_t)
    rejected = np.zeros(fisher.shape)
    for limit in np.unique(fisher[fisher <= min(1, 20 * tail)]):
        region = (fisher <= limit * (1 + 1e-11)).astype(float)
        if greatest(region, 0.0, 0.0, 1.0) >= tail:
            break
        rejected = region
    return rejected


@cache
def boschloo_at(n_t, n_c, tail, difference):
    """The greatest probability of the tables that Boschloo's test rejects, over all rates."""
    region = rejected_by_boschloo(n_t, n_c, tail)
    return greatest(region, difference, max(0.0, -difference), min(1.0, 1.0 - difference))


def is_kept(x_t, n_t, x_c, n_c, tail, difference):
    error = OUTSIDE * tail
    first, second = plausible(x_t, n_t, error / 4), plausible(x_c, n_c, error / 4)
    low = max(second[0], first[0] - difference, 0.0, -difference)
    high = min(second[1], first[1] - difference, 1.0, 1.0 - difference)
    if difference < 0 and boschloo_at(n_t, n_c, tail, difference) >= tail - error:
        return True
    if low > high:
        return False
    score = scores(n_t, n_c, difference)
    region = score >= score[x_t, x_c] - 1e-9 * abs(score[x_t, x_c])
    if difference < 0:
        region = region | (rejected_by_boschloo(n_t, n_c, tail) > 0)
    return greatest(region.astype(float), difference, low, high) >= tail - error


def first_kept(kept, previous, walk):
    """The first difference of a walk that is kept, and the one before."""
    for here in walk:
        if kept(here):
            return previous, here
        previous = here
    return previous, None


def lower_end(x_t, n_t, x_c, n_c, tail):
    if x_t == 0 and x_c == n_c:
        return -1.0
    rejected = bool(rejected_by_boschloo(n_t, n_c, tail)[x_t, x_c])
    begin, last = (np.finfo(float).tiny, 1.0) if rejected else (-1.0, 0.0)
    kept = lambda difference: difference == last or is_kept(x_t, n_t, x_c, n_c, tail, difference)
    walk = [float(step) for step in last - 1 + (np.arange(1, DIFFERENCES) + 0.377) / DIFFERENCES] + [last]
    _, coarse = first_kept(kept, begin, walk)
    fine = [coarse - FINE * step for step in range(FINE_STEPS, -1, -1)]
    low, high = first_kept(kept, begin, [here for here in fine if here > begin])
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (low, middle) if kept(middle) else (middle, high)
    return high


def case(x_t, n_t, x_c, n_c, alpha):
    low = lower_end(x_t, n_t, x_c, n_c, alpha / 2)
    high = -lower_end(x_c, n_c, x_t, n_t, alpha / 2)
    return {"x_t": x_t, "n_t": n_t, "x_c": x_c, "n_c": n_c, "alpha": alpha, "low": low, "high": high}


def clear_caches():
    for function in (scores, rejected_by_boschloo, boschloo_at):
        function.cache_clear()


def random_cases(generator):
    sizes = [(5, 5), (8, 5), (10, 10), (12, 25), (20, 20), (33, 9), (30, 41), (60, 60), (60, 45), (15, 60)]
    for n_t, n_c in sizes:
        clear_caches()
        for number in range(8):
            alpha = 0.05 if number < 6 else float(generator.choice([0.2, 0.01]))
            rate = generator.choice([0.0, 0.03, 0.1, 0.4, 0.5, 0.95])
            x_t = int(generator.binomial(n_t, rate))
            x_c = int(generator.binomial(n_c, min(1.0, max(0.0, rate + generator.normal(0, 0.2)))))
            yield case(x_t, n_t, x_c, n_c, alpha)


def least_coverage(n_t, n_c, alpha, points):
    """The least probability, over a grid of true rates, that the interval of the table drawn holds their difference."""
    ends = np.array([[(lower_end(x_t, n_t, x_c, n_c, alpha / 2), -lower_end(x_c, n_c, x_t, n_t, alpha / 2))
                      for x_c in range(n_c + 1)] for x_t in range(n_t + 1)])
    rates = np.linspace(0, 1, points)
    of_t, of_c = binomial(n_t, rates), binomial(n_c, rates)
    least = 1.0
    for t, first in zip(rates, of_t):
        for c, second in zip(rates, of_c):
            holds = (ends[:, :, 0] <= t - c + 1e-12) & (t - c - 1e-12 <= ends[:, :, 1])
            least = min(least, first @ holds @ second)
    return least


COLUMNS = "x_t,n_t,x_c,n_c,alpha,low,high".split(",")

if __name__ == "__main__":
    for table in ((9, 10, 3, 10), (13, 47, 19, 53), (0, 10, 0, 10), (0, 60, 0, 60), (7, 15, 12, 15), (1, 2, 0, 1)):
        print(table, case(*table, 0.05))
    for n_t, n_c in ((4, 4), (5, 3)):
        print("least coverage of 95 %, arms of", n_t, n_c, least_coverage(n_t, n_c, 0.05, 101))
    rows = list(random_cases(np.random.default_rng(20_251)))
    with (FIXTURES / "exact_interval.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([f"{row[column]:.11g}" for column in COLUMNS] for row in rows)
