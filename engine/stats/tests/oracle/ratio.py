"""Ratio metrics by the delta method, from the values of each unit.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/ratio.csv (raw values of small arms, and what
NumPy and SciPy make of them), and golden numbers on standard output. The standard error is that of the linearised
values (y − R z) / mean z, unit by unit; Fieller's ends are found by brentq.

    python -m pip install -r requirements.txt && python ratio.py
"""

import csv
import math
from pathlib import Path

import numpy as np
from scipy import optimize, stats

FIXTURES = Path(__file__).parent / "fixtures"


def fieller(control, treatment, v_c, v_t, critical):
    """The lifts kept, relative to |control|; None where they are unbounded."""
    if control == 0 or critical**2 * v_c >= 0.98 * control**2:
        return None, None
    sign = math.copysign(1, control)
    estimate = (treatment - control) / abs(control)

    def excess(lift):
        return (treatment - control - lift * abs(control)) ** 2 - critical**2 * (v_t + (1 + sign * lift) ** 2 * v_c)

    step = 1.0
    while excess(estimate - step) < 0 or excess(estimate + step) < 0:
        step *= 2
    low = optimize.brentq(excess, estimate - step, estimate, xtol=1e-15)
    high = optimize.brentq(excess, estimate, estimate + step, xtol=1e-15)
    return low, high


def compare(parts_c, parts_t, alpha):
    """Each part (ratio, squared standard error, n)."""
    (r_c, v_c, n_c), (r_t, v_t, n_t) = parts_c, parts_t
    df = (v_c + v_t) ** 2 / (v_c**2 / (n_c - 1) + v_t**2 / (n_t - 1))
    error = math.sqrt(v_c + v_t)
    critical = stats.t.isf(alpha / 2, df)
    difference = r_t - r_c
    p = 2 * stats.t.sf(abs(difference) / error, df)
    lift = fieller(r_c, r_t, v_c, v_t, critical)
    return difference, error, df, p, difference - critical * error, difference + critical * error, *lift


def parts(y, z):
    ratio = y.mean() / z.mean()
    linear = (y - ratio * z) / z.mean()
    return ratio, linear.var(ddof=1) / len(y), len(y)


def random_cases(generator):
    for _ in range(200):
        arms = []
        for _ in range(2):
            n = int(generator.integers(8, 25))
            z = generator.poisson(generator.uniform(1.5, 6), n) + generator.integers(0, 2)
            y = np.round(z * generator.gamma(2, 5, n) + generator.normal(0, 3, n), 3)
            arms.append((y, z.astype(float)))
        (y_c, z_c), (y_t, z_t) = arms
        if min(z.mean() / (z.std(ddof=1) / math.sqrt(len(z))) for z in (z_c, z_t)) < 2.5:
            continue
        alpha = float(generator.choice([0.2, 0.05, 0.01]))
        result = compare(parts(y_c, z_c), parts(y_t, z_t), alpha)
        yield [alpha, *(";".join(f"{value:g}" for value in values) for values in (y_c, z_c, y_t, z_t)), *result]


def from_sums(n, y, yy, z, zz, yz):
    ratio = y / z
    v_y, v_z, c = ((a - b * d / n) / (n - 1) for a, b, d in ((yy, y, y), (zz, z, z), (yz, y, z)))
    return ratio, (v_y + ratio**2 * v_z - 2 * ratio * c) / n / (z / n) ** 2, n


def golden():
    treatment = from_sums(2034, 99673.9364269569, 11298745.182728939, 947, 947, 99673.9364269569)
    control = from_sums(1966, 94605.79858780127, 10463129.505392816, 936, 936, 94605.79858780127)
    print("published: difference, error, df, p, low, high, lift low, lift high")
    print(*map(repr, map(float, compare(control, treatment, 0.05))))
    # The linearised lift of gbstats, for comparison: .041333 (.013786, .068880), p .0032827.
    r_c, v_c, _ = control
    r_t, v_t, _ = treatment
    lift, error = r_t / r_c - 1, math.sqrt(v_t / r_c**2 + v_c * r_t**2 / r_c**4)
    print("linearised lift", lift, error, 2 * stats.norm.sf(lift / error))
    values = np.array([3.0, 1, 4, 1, 5, 9])
    print("mean", repr(stats.t.interval(0.95, 5, values.mean(), stats.sem(values))))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    header = "alpha,y_c,z_c,y_t,z_t,difference,error,df,p,low,high,lift_low,lift_high"
    with (FIXTURES / "ratio.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        for row in random_cases(np.random.default_rng(20240602)):
            writer.writerow([f"{cell:.12g}" if isinstance(cell, float) else cell for cell in row])
    golden()
