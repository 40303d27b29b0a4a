"""The anytime-valid sample ratio test, by its definition.

Enters: nothing; random paths come from a fixed seed. Leaves: fixtures/sample_ratio_sequential.csv, and golden numbers
on standard output. Gamma functions are mpmath's, with 40 digits.

    python -m pip install -r requirements.txt && python sample_ratio_sequential.py
"""

import csv
from pathlib import Path

import mpmath
import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"
mpmath.mp.dps = 40


def log_e_value(counts, weights, concentration):
    shares = [mpmath.mpf(weight) / sum(map(mpmath.mpf, weights)) for weight in weights]
    total, units = mpmath.mpf(concentration), sum(counts)
    value = mpmath.loggamma(total) - mpmath.loggamma(total + units)
    for share, observed in zip(shares, counts):
        value += mpmath.loggamma(total * share + observed) - mpmath.loggamma(total * share)
        value -= observed * mpmath.log(share)
    return value


def random_paths(generator):
    for _ in range(200):
        arms = int(generator.integers(2, 5))
        weights = [float(weight) for weight in np.round(10 ** generator.uniform(-2, 2, arms), 4)]
        concentration = float(generator.choice([1.0, 100.0, 10000.0]))
        shares = np.array(weights) / sum(weights)
        true = shares * np.exp(generator.normal(0, float(generator.choice([0, 0.02, 0.3])), arms))
        scale = int(10 ** generator.uniform(1, 6))
        totals, gained, values, p_values, greatest = np.zeros(arms, dtype=int), [], [], [], mpmath.mpf(0)
        for _ in range(int(generator.integers(1, 7))):
            gains = generator.multinomial(scale, true / true.sum())
            totals += gains
            value = log_e_value([int(n) for n in totals], weights, concentration)
            greatest = max(greatest, value)
            gained.append(" ".join(str(n) for n in gains))
            values.append(repr(float(value)))
            p_values.append(repr(float(mpmath.exp(-greatest))))
        yield [";".join(map(repr, weights)), concentration, ";".join(gained), ";".join(values), ";".join(p_values)]


if __name__ == "__main__":
    for counts, weights in (
        ((600, 400), (1.0, 1.0)),
        ((44000, 45000), (1.0, 1.0)),
        ((185179, 9939), (0.95, 0.05)),
        ((500_010_000, 499_990_000), (1.0, 1.0)),
        ((21307, 21387, 21306), (1.0, 1.0, 1.0)),
    ):
        value = log_e_value(counts, weights, 100)
        print(counts, weights, float(value), float(min(mpmath.mpf(1), mpmath.exp(-value))))
    with (FIXTURES / "sample_ratio_sequential.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow("weights,concentration,gained,log_e_values,p_values".split(","))
        writer.writerows(random_paths(np.random.default_rng(20_246)))
