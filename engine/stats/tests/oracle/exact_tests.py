"""Fisher's, Barnard's and Boschloo's tests of two proportions, with their intervals.

Enters: nothing; random tables come from a fixed seed. Leaves: fixtures/exact_tests.csv, and golden numbers on standard
output. Fisher and Boschloo are SciPy's. Barnard's p value enumerates every table and compares z in whole numbers: where
SciPy's rounded comparison picks the same tables, its p value has to agree, and that is asserted here. Barnard's
interval follows its definition, with every table in a NumPy array, 300 rates refined by SciPy, and halving; the
interval that goes with Boschloo's test has a script of its own, exact_interval.py.

    python -m pip install -r requirements.txt && python exact_tests.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from scipy import optimize, stats
from scipy.stats.contingency import odds_ratio

FIXTURES = Path(__file__).parent / "fixtures"
warnings.simplefilter("ignore")


def tables(n_t, n_c):
    return np.arange(n_t + 1)[:, None], np.arange(n_c + 1)[None, :]


def greatest(chance, low, high, steps=1000):
    """The greatest value of a function of the control rate: a walk, and a bounded search round its best point."""
    rates = low + (high - low) * np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2
    values = np.array([chance(rate) for rate in rates])
    best = int(values.argmax())
    bounds = rates[max(best - 1, 0)], rates[min(best + 1, steps)]
    if bounds[0] == bounds[1]:
        return values[best]
    options = {"xatol": 1e-12}
    refined = optimize.minimize_scalar(lambda rate: -chance(rate), bounds=bounds, method="bounded", options=options)
    return max(values[best], -refined.fun)


def chance_of(region, difference, steps=1000):
    """The greatest probability of a set of tables over all rates with treatment - control = difference."""
    n_t, n_c = region.shape[0] - 1, region.shape[1] - 1
    x_t, x_c = np.arange(n_t + 1), np.arange(n_c + 1)

    def chance(rate):
        first = stats.binom.pmf(x_t, n_t, min(max(rate + difference, 0), 1))
        return first @ region @ stats.binom.pmf(x_c, n_c, min(max(rate, 0), 1))

    return greatest(chance, max(0, -difference), min(1, 1 - difference), steps)


def pooled_parts(x_t, n_t, x_c, n_c):
    successes = np.asarray(x_t + x_c, dtype=object)
    difference = np.asarray(x_t, dtype=object) * n_c - np.asarray(x_c, dtype=object) * n_t
    return difference, np.maximum(successes * (n_t + n_c - successes), 1)


def barnard(x_t, n_t, x_c, n_c):
    difference, variance = pooled_parts(*tables(n_t, n_c)[:1], n_t, tables(n_t, n_c)[1], n_c)
    seen, seen_variance = pooled_parts(x_t, n_t, x_c, n_c)
    region = np.array(difference**2 * int(seen_variance) >= int(seen) ** 2 * variance, dtype=float)
    p_value = min(1.0, chance_of(region, 0.0))
    rows, columns = tables(n_t, n_c)
    pooled = (rows + columns) / (n_t + n_c)
    z = (rows / n_t - columns / n_c) / np.sqrt(pooled * (1 - pooled) * (1 / n_t + 1 / n_c))
    z[rows / n_t == columns / n_c] = 0
    same = np.array_equal(np.abs(z) >= abs(z[x_t, x_c]), region.astype(bool))
    scipy_p = stats.barnard_exact([[x_t, x_c], [n_t - x_t, n_c - x_c]]).pvalue
    # SciPy's local search may stop a little short of the greatest value, never past it.
    if same:
        assert scipy_p <= p_value * (1 + 1e-9), (x_t, n_t, x_c, n_c, scipy_p, p_value)
        assert p_value - scipy_p < 1e-3 * p_value, (x_t, n_t, x_c, n_c, scipy_p, p_value)
    return p_value, same and abs(p_value - scipy_p) < 1e-8 * p_value


def rates_under(x_t, n_t, x_c, n_c, difference):
    """The likeliest control rate with treatment - control = difference, table by table: halving of the slope."""
    x_t, x_c = np.broadcast_arrays(np.asarray(x_t, dtype=float), np.asarray(x_c, dtype=float))
    low = np.full(x_t.shape, max(0.0, -difference))
    high = np.full(x_t.shape, min(1.0, 1.0 - difference))

    def part(successes, units, rate):
        up = np.where(successes > 0, successes / rate, 0)
        down = np.where(successes < units, (units - successes) / (1 - rate), 0)
        return up - down

    for _ in range(200):
        middle = (low + high) / 2
        rising = part(x_t, n_t, middle + difference) + part(x_c, n_c, middle) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return (low + high) / 2


def scores(x_t, n_t, x_c, n_c, difference):
    rate = rates_under(x_t, n_t, x_c, n_c, difference)
    other = np.clip(rate + difference, 0, 1)
    variance = other * (1 - other) / n_t + rate * (1 - rate) / n_c
    distance = x_t / n_t - x_c / n_c - difference
    return np.where(distance == 0, 0, distance / np.sqrt(variance))


def barnard_at(x_t, n_t, x_c, n_c, difference):
    everywhere = np.abs(scores(*tables(n_t, n_c)[:1], n_t, tables(n_t, n_c)[1], n_c, difference))
    region = (everywhere >= everywhere[x_t, x_c] * (1 - 1e-9)).astype(float)
    return chance_of(region, difference, 300)


def barnard_low(x_t, n_t, x_c, n_c, alpha, significant):
    estimate = x_t / n_t - x_c / n_c
    if estimate == -1:
        return -1.0
    outside = 0.0 if significant and estimate > 0 else -1.0
    inside = estimate if significant else min(estimate, 0.0)
    kept = lambda difference: barnard_at(x_t, n_t, x_c, n_c, difference) >= alpha
    previous = outside
    for step in range(1, 25):
        here = outside + (inside - outside) * (step / 24)
        if step == 24 or kept(here):
            low, high = previous, here
            while high - low > 1e-11:
                middle = (low + high) / 2
                low, high = (low, middle) if kept(middle) else (middle, high)
            return high
        previous = here


def case(x_t, n_t, x_c, n_c, with_intervals, alpha=0.05):
    across = [[x_t, n_t - x_t], [x_c, n_c - x_c]]
    down = [[x_t, x_c], [n_t - x_t, n_c - x_c]]
    row = {"x_t": x_t, "n_t": n_t, "x_c": x_c, "n_c": n_c}
    row["fisher"] = stats.fisher_exact(across).pvalue
    successes = x_t + x_c
    row["less"] = stats.hypergeom.cdf(x_t, n_t + n_c, successes, n_t)
    row["greater"] = stats.hypergeom.sf(x_t - 1, n_t + n_c, successes, n_t)
    if 0 < successes < n_t + n_c:
        ratio = odds_ratio(across, kind="conditional")
        ends = ratio.confidence_interval(1 - alpha)
        row["odds"], row["odds_low"], row["odds_high"] = ratio.statistic, ends.low, ends.high
    row["barnard"], row["as_scipy"] = barnard(x_t, n_t, x_c, n_c)
    row["boschloo"] = stats.boschloo_exact(down).pvalue
    if with_intervals:
        significant = row["barnard"] < alpha
        row["barnard_low"] = barnard_low(x_t, n_t, x_c, n_c, alpha, significant)
        row["barnard_high"] = -barnard_low(x_c, n_c, x_t, n_t, alpha, significant)
    return row


def random_tables(generator):
    for number in range(300):
        small = number < 60
        most = 12 if small else 60
        n_t, n_c = (int(n) for n in generator.integers(1, most, 2))
        rate = generator.choice([0.05, 0.3, 0.5, 0.9])
        x_t = int(generator.binomial(n_t, rate))
        x_c = int(generator.binomial(n_c, min(1.0, max(0.0, rate + generator.normal(0, 0.25)))))
        yield case(x_t, n_t, x_c, n_c, small)


def cell(value):
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


COLUMNS = (
    "x_t,n_t,x_c,n_c,fisher,less,greater,odds,odds_low,odds_high,barnard,boschloo,"
    "barnard_low,barnard_high"
).split(",")

if __name__ == "__main__":
    for table in ((13, 47, 19, 53), (9, 10, 3, 10), (7, 15, 12, 15), (0, 10, 0, 10), (22, 49, 16, 20), (13, 36, 5, 7)):
        print(table, {key: float(value) for key, value in case(*table, max(table) < 60).items()})
    rows = list(random_tables(np.random.default_rng(20_241)))
    print("Barnard as SciPy has it:", sum(row["as_scipy"] for row in rows), "of", len(rows))
    with (FIXTURES / "exact_tests.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([cell(row.get(column)) for column in COLUMNS] for row in rows)
