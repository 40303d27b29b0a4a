"""The best of several arms: conditional and hybrid inference by its definition.

Enters: nothing; random races come from a fixed seed. Leaves: fixtures/selection.csv, and golden numbers on standard
output. The cut-off normal is mpmath's, with 40 digits; its equations are solved by halving.

    python -m pip install -r requirements.txt && python selection.py
"""

import csv
from pathlib import Path

import mpmath
import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"
mpmath.mp.dps = 40


def upper(z):
    return mpmath.erfc(z / mpmath.sqrt(2)) / 2


def halve(excess, low, high):
    """The point where a rising function turns positive."""
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2


def quantile(probability):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(probability) - 1)


def analyse(estimates, errors, shared, alpha):
    estimates, errors = [mpmath.mpf(x) for x in estimates], [mpmath.mpf(x) for x in errors]
    shared, alpha = mpmath.mpf(shared), mpmath.mpf(alpha)
    best = max(range(len(estimates)), key=lambda index: estimates[index])
    seen, error = estimates[best], errors[best]
    common = shared / error**2
    # The part of each other arm that is independent of the best, and where it would have won.
    independent = [x - common * seen for index, x in enumerate(estimates) if index != best]
    cut_off = max(independent) / (1 - common)

    def conditional(share):
        excess = lambda mean: upper((seen - mean) / error) / upper((cut_off - mean) / error) - share
        return halve(excess, seen - 3000 * error, seen + 40 * error)

    part = alpha / 10
    radius = quantile(1 - (1 - (1 - part) ** (mpmath.mpf(1) / len(estimates))) / 2)
    rest = (alpha - part) / (1 - part)

    def hybrid(share):
        def excess(mean):
            least = max((cut_off - mean) / error, -radius)
            return (upper((seen - mean) / error) - upper(radius)) / (upper(least) - upper(radius)) - share

        return halve(excess, seen - radius * error, seen + radius * error)

    shares = (0.5, alpha / 2, 1 - alpha / 2), (0.5, rest / 2, 1 - rest / 2)
    return best, cut_off, *(conditional(share) for share in shares[0]), *(hybrid(share) for share in shares[1])


def random_races(generator):
    for number in range(200):
        count = int(generator.integers(2, 7))
        spread = float(generator.choice([0.2, 1, 4]))
        estimates = [float(x) for x in np.round(generator.normal(0, spread, count), 3)]
        errors = [float(x) for x in np.round(generator.uniform(0.5, 1.5, count), 3)]
        shared = 0.0 if number % 2 else round(0.9 * min(errors) ** 2 * float(generator.random()), 4)
        alpha = float(generator.choice([0.2, 0.05, 0.01]))
        closest = sorted(estimates)[-1] - sorted(estimates)[-2]
        if closest < 0.01:
            continue
        numbers = [float(value) for value in analyse(estimates, errors, shared, alpha)]
        lists = [";".join(map(repr, values)) for values in (estimates, errors)]
        yield [*lists, shared, alpha, int(numbers[0]), *numbers[1:]]


if __name__ == "__main__":
    for race in (
        ([1.0, 2.0, 2.5], [1.0, 1.0, 1.0], 0.0, 0.05),
        ([0.012, 0.02, 0.021, 0.005], [0.006, 0.005, 0.007, 0.004], 0.0, 0.05),
        ([1.0, 2.0, 2.5], [1.0, 1.0, 1.0], 0.5, 0.05),
    ):
        print(race, *(float(value) for value in analyse(*race)))
    for far, near in ((1.0, -2.0), (3.0, 0.5), (6.0, 5.5), (60.0, 50.0), (1000.5, 1000.0)):
        print("log ratio", far, near, float(mpmath.log(upper(mpmath.mpf(far)) / upper(mpmath.mpf(near)))))
    with (FIXTURES / "selection.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "estimates,errors,shared,alpha,index,cut_off,conditional,conditional_low,conditional_high"
        writer.writerow(f"{names},hybrid,hybrid_low,hybrid_high".split(","))
        writer.writerows(random_races(np.random.default_rng(20_245)))
