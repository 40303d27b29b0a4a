"""Sequential statistics by other means than the crate's, as fixtures and golden numbers.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/always_valid.csv and
fixtures/group_sequential.csv, and golden numbers on standard output.

- Always valid: the formulas of Waudby-Smith et al. (2024) in NumPy; the lift by inverting z with SciPy's brentq.
- Group sequential: the recursion of Armitage, McPherson and Rowe (1969) over the score by Gauss-Legendre quadrature
  (the crate: over z, on Jennison and Turnbull's grid, by Simpson's rule).

    python -m pip install -r requirements.txt && python sequential.py
"""

import csv
import math
from pathlib import Path

import numpy as np
from scipy import optimize, stats

FIXTURES = Path(__file__).parent / "fixtures"
NODES, WEIGHTS = np.polynomial.legendre.leggauss(300)


def write(name, header, rows):
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{value:.10g}" if isinstance(value, float) else value for value in row])


def mixture_critical(units, planned, alpha):
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned
    x = units * rho_squared
    return math.sqrt(2 * (x + 1) / x * math.log(math.sqrt(x + 1) / alpha)), x


def always_valid(control, treatment, planned, alpha):
    """(critical, p, low, high, lift low, lift high); each arm (n, mean, sample variance)."""
    (n_c, m_c, v_c), (n_t, m_t, v_t) = control, treatment
    # An arm that is smaller by more than half has at least the spread of both.
    pooled = ((n_c - 1) * v_c + (n_t - 1) * v_t) / (n_c + n_t - 2)
    if 1.5 * n_c < n_t:
        v_c = max(v_c, pooled)
    if 1.5 * n_t < n_c:
        v_t = max(v_t, pooled)
    critical, x = mixture_critical(n_c + n_t, planned, alpha)
    error = math.sqrt(v_c / n_c + v_t / n_t)
    difference = m_t - m_c
    z = difference / error
    p = min(1.0, math.sqrt(x + 1) * math.exp(-x * z * z / (2 * (x + 1))))

    def excess(lift):
        numerator = m_t - m_c - lift * abs(m_c)
        share = 1 + lift * math.copysign(1, m_c)
        return numerator**2 - critical**2 * (v_t / n_t + share**2 * v_c / n_c)

    estimate = difference / abs(m_c)
    step = 1.0
    while excess(estimate - step) < 0 or excess(estimate + step) < 0:
        step *= 2
        if step > 1e6:
            return critical, p, difference - critical * error, difference + critical * error, None, None
    low = optimize.brentq(excess, estimate - step, estimate, xtol=1e-15)
    high = optimize.brentq(excess, estimate, estimate + step, xtol=1e-15)
    return critical, p, difference - critical * error, difference + critical * error, low, high


class Walk:
    """Mass of the score that is still inside the boundaries."""

    def __init__(self, drift):
        self.drift, self.time = drift, 0.0
        self.points, self.masses = np.array([0.0]), np.array([1.0])

    def tails(self, time, bound):
        mean = self.points + self.drift * (time - self.time)
        scale = math.sqrt(time - self.time)
        score = bound * math.sqrt(time)
        return float(self.masses @ stats.norm.sf(score, mean, scale)), float(
            self.masses @ stats.norm.cdf(-score, mean, scale)
        )

    def advance(self, time, bound):
        reach = min(bound, 9.0 + abs(self.drift) * math.sqrt(time)) * math.sqrt(time)
        scale = math.sqrt(time - self.time)
        points = NODES * reach
        density = stats.norm.pdf(points[:, None], self.points[None, :] + self.drift * (time - self.time), scale)
        self.points, self.masses, self.time = points, (density @ self.masses) * WEIGHTS * reach, time


def crossings(times, bounds, drift):
    walk, crossed = Walk(drift), []
    for time, bound in zip(times, bounds):
        crossed.append(sum(walk.tails(time, bound)))
        walk.advance(time, bound)
    return crossed


def spent(kind, time, alpha):
    time = min(time, 1.0)
    if kind == "obrien_fleming":
        return 4 * stats.norm.sf(stats.norm.isf(alpha / 4) / math.sqrt(time))
    if kind == "pocock":
        return alpha * math.log(1 + (math.e - 1) * time)
    return alpha * time ** float(kind)


def spending_bounds(kind, times, alpha):
    walk, total, bounds = Walk(0.0), 0.0, []
    for time in times:
        side = (spent(kind, time, alpha) - total) / 2
        bound = math.inf
        if side >= 1e-12:
            bound = optimize.brentq(lambda c: math.log(max(walk.tails(time, c)[0], 1e-300)) - math.log(side), 0, 12, xtol=1e-13)
            total += 2 * side
        bounds.append(bound)
        walk.advance(time, bound)
    return bounds


def planned_bounds(kind, times, alpha):
    def bounds_for(constant):
        power = 0.5 if kind == "planned_obrien_fleming" else 0.0
        return [constant * (times[-1] / time) ** power for time in times]

    low, high = stats.norm.isf(alpha / 2), stats.norm.isf(alpha / 2 / len(times))
    constant = low
    if len(times) > 1:
        constant = optimize.brentq(lambda c: sum(crossings(times, bounds_for(c), 0.0)) - alpha, low, high, xtol=1e-13)
    return bounds_for(constant)


def more_extreme(times, bounds, z, drift):
    walk, total = Walk(drift), 0.0
    for time, bound in zip(times[:-1], bounds):
        total += walk.tails(time, bound)[0]
        walk.advance(time, bound)
    return total + walk.tails(times[-1], z)[0]


def stopped(times, bounds, z, alpha):
    """(p, median-unbiased drift, low, high) on the scale of z at the full information."""
    p = min(1.0, 2 * more_extreme(times, bounds, abs(z), 0.0))
    centre = z / math.sqrt(times[-1])

    def drift_with(probability):
        reach = 8 / math.sqrt(times[0])
        return optimize.brentq(
            lambda drift: more_extreme(times, bounds, z, drift) - probability, centre - reach, centre + reach, xtol=1e-12
        )

    return p, drift_with(0.5), drift_with(alpha / 2), drift_with(1 - alpha / 2)


def cell(bounds):
    return ";".join("" if math.isinf(bound) else f"{bound:.9g}" for bound in bounds)


def random_always_valid(generator):
    for _ in range(300):
        n_c, n_t = (int(n) for n in np.exp(generator.uniform(math.log(25), math.log(2e6), 2)))
        mean = float(generator.choice([-1, 1]) * np.exp(generator.uniform(-3, 6)))
        spread = abs(mean) * np.exp(generator.uniform(-2, 1.0, 2))
        shift = float(generator.normal(0, 4) * math.sqrt(spread[0] ** 2 / n_c + spread[1] ** 2 / n_t))
        control = (n_c, float(f"{mean:.8g}"), float(f"{spread[0] ** 2:.8g}"))
        treatment = (n_t, float(f"{mean + shift:.8g}"), float(f"{spread[1] ** 2:.8g}"))
        planned = int(np.exp(generator.uniform(math.log(100), math.log(1e6))))
        alpha = float(generator.choice([0.2, 0.1, 0.05, 0.01, 0.001]))
        result = always_valid(control, treatment, planned, alpha)
        if result[-1] is not None:
            yield [*control, *treatment, planned, alpha, *result]


def random_group_sequential(generator):
    kinds = ["obrien_fleming", "pocock", "1", "2", "3.5", "planned_obrien_fleming", "planned_pocock"]
    for case in range(140):
        kind = kinds[case % len(kinds)]
        looks = int(generator.integers(1, 6))
        steps = generator.uniform(0.1, 1.0, looks)
        times = np.cumsum(steps) / steps.sum() * generator.choice([0.7, 1.0, 1.0, 1.15])
        times = [float(f"{time:.6f}") for time in times]
        alpha = float(generator.choice([0.1, 0.05, 0.01]))
        planned = kind.startswith("planned")
        bounds = planned_bounds(kind, times, alpha) if planned else spending_bounds(kind, times, alpha)
        drift = float(f"{generator.uniform(0, 4):.4f}")
        power = sum(crossings(times, bounds, drift))
        row = [kind, alpha, ";".join(f"{time:.6f}" for time in times), cell(bounds), drift, power]
        # Results at the stop take a root search each: a part of the cases is enough.
        look = int(generator.integers(1, min(looks, 3) + 1))
        if case % 4 == 0 and (math.isfinite(bounds[look - 1]) or look == looks):
            reached = bounds[look - 1] + generator.uniform(0.01, 1.0) if look < looks else generator.uniform(0, 3)
            z = float(f"{generator.choice([-1, 1]) * reached:.4f}")
            row += [look, z, *stopped(times[:look], bounds, z, alpha)]
        else:
            row += [""] * 6
        yield row


def golden():
    for units in (1, 100, 1000, 10_000, 10_000_000):
        print("mixture critical value, planned 1000, alpha 0.05,", units, repr(mixture_critical(units, 1000, 0.05)[0]))
    g1 = (3407, 0.41, 15.21), (3461, 0.7, 38.44)
    better = (3407, 0.41, 15.21), (3461, 1.2, 38.44)
    for name, (control, treatment) in {"g1": g1, "better": better}.items():
        print(name, *map(repr, always_valid(control, treatment, 10_000, 0.05)))
    fifths = [0.2, 0.4, 0.6, 0.8, 1.0]
    for kind in ("obrien_fleming", "pocock", "2"):
        print(kind, *spending_bounds(kind, fifths, 0.05))
    for kind in ("planned_obrien_fleming", "planned_pocock"):
        bounds = planned_bounds(kind, fifths, 0.05)
        print(kind, bounds[-1])
        for power in (0.8, 0.9):
            drift = optimize.brentq(lambda d: sum(crossings(fifths, bounds, d)) - power, 0.1, 10, xtol=1e-12)
            inflation = (drift / (stats.norm.isf(0.025) + stats.norm.ppf(power))) ** 2
            crossed = crossings(fifths, bounds, drift)
            mean = sum(t * c for t, c in zip(fifths, crossed)) + 1 - power
            print("  power, inflation, expected share of the fixed sample", power, inflation, inflation * mean)
    bounds = spending_bounds("obrien_fleming", fifths, 0.05)
    for look, z in ((3, 2.9), (5, 1.5)):
        print("stopped at", look, z, *stopped(fifths[:look], bounds, z, 0.05))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    generator = np.random.default_rng(20240601)
    write(
        "always_valid.csv",
        "n_c,mean_c,var_c,n_t,mean_t,var_t,planned,alpha,critical,p,low,high,lift_low,lift_high".split(","),
        random_always_valid(generator),
    )
    write(
        "group_sequential.csv",
        "kind,alpha,fractions,criticals,drift,power,look,z,p,middle,low,high".split(","),
        random_group_sequential(generator),
    )
    golden()
