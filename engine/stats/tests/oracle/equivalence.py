"""Score tests of proportions against a shifted difference or ratio, and Welch's t against a shifted mean.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/equivalence_proportions.csv and
fixtures/equivalence_means.csv, and golden numbers on standard output. The likelihood under a difference is maximised
with mpmath (statsmodels 0.15 has a slip in its cubic there, see golden_numbers.py); ratios are statsmodels', Welch's t
is SciPy's.

    python -m pip install -r requirements.txt && python equivalence.py
"""

import csv
import warnings
from pathlib import Path

import mpmath
import numpy as np
from scipy import stats
from statsmodels.stats.proportion import test_proportions_2indep

FIXTURES = Path(__file__).parent / "fixtures"
warnings.simplefilter("ignore")
mpmath.mp.dps = 30


def score_difference(x_t, n_t, x_c, n_c, hypothesis, corrected=False):
    """z of "treatment rate - control rate = hypothesis"."""
    hypothesis = mpmath.mpf(hypothesis)

    def part(successes, units, rate):
        up = successes / rate if successes else 0
        return up - ((units - successes) / (1 - rate) if successes < units else 0)

    low, high = max(mpmath.mpf(0), -hypothesis), min(mpmath.mpf(1), 1 - hypothesis)
    for _ in range(105):
        rate = (low + high) / 2
        rising = part(x_t, n_t, rate + hypothesis) + part(x_c, n_c, rate) > 0
        low, high = (rate, high) if rising else (low, rate)
    other = rate + hypothesis
    variance = other * (1 - other) / n_t + rate * (1 - rate) / n_c
    if corrected:
        variance *= mpmath.mpf(n_t + n_c) / (n_t + n_c - 1)
    distance = mpmath.mpf(x_t) / n_t - mpmath.mpf(x_c) / n_c - hypothesis
    return float(distance / mpmath.sqrt(variance))


def score_ratio(x_t, n_t, x_c, n_c, hypothesis):
    """z of "treatment rate = hypothesis x control rate", and its one-sided p value."""
    test = test_proportions_2indep(
        x_t, n_t, x_c, n_c, value=hypothesis, compare="ratio", method="score", alternative="larger", correction=False
    )
    return float(test.statistic), float(test.pvalue)


def welch(treatment, control, hypothesis):
    """One-sided p value in favour of a difference above the hypothesis."""
    (n_t, mean_t, var_t), (n_c, mean_c, var_c) = treatment, control
    return stats.ttest_ind_from_stats(
        mean_t - hypothesis, var_t**0.5, n_t, mean_c, var_c**0.5, n_c, equal_var=False, alternative="greater"
    )


def degrees_of_freedom(treatment, control):
    (n_t, _, var_t), (n_c, _, var_c) = treatment, control
    first, second = var_t / n_t, var_c / n_c
    return (first + second) ** 2 / (first**2 / (n_t - 1) + second**2 / (n_c - 1))


def fieller(treatment, control, hypothesis):
    """One-sided p value in favour of a lift above the hypothesis; degrees of freedom of the plain difference."""
    (n_t, mean_t, var_t), (n_c, mean_c, var_c) = treatment, control
    factor = 1 + hypothesis * np.sign(mean_c)
    statistic = (mean_t - factor * mean_c) / np.sqrt(var_t / n_t + factor**2 * var_c / n_c)
    return stats.t.sf(statistic, degrees_of_freedom(treatment, control))


def random_proportions(generator):
    for _ in range(250):
        n_t, n_c = (int(10 ** generator.uniform(0.7, 5)) for _ in range(2))
        rate = generator.choice([0.002, 0.05, 0.4, 0.95])
        x_t, x_c = int(generator.binomial(n_t, rate)), int(generator.binomial(n_c, rate))
        margin = float(np.round(10 ** generator.uniform(-3, -0.3), 6))
        row = [x_t, n_t, x_c, n_c, margin]
        row += [score_difference(x_t, n_t, x_c, n_c, -margin), score_difference(x_t, n_t, x_c, n_c, margin)]
        inside = 0 < x_t < n_t and 0 < x_c < n_c
        row += [score_ratio(x_t, n_t, x_c, n_c, 1 + sign * margin)[0] if inside else "" for sign in (-1, 1)]
        yield row


def random_means(generator):
    for _ in range(250):
        arms = []
        mean = float(generator.choice([-1, 1]) * 10 ** generator.uniform(-1, 3))
        spread = abs(mean) * 10 ** generator.uniform(-1, 0.5)
        for _ in range(2):
            n = int(10 ** generator.uniform(2, 5))
            moved = mean + float(generator.normal(0, 2 * spread / n**0.5))
            arms.append((n, moved, float(spread**2 * generator.uniform(0.5, 2))))
        treatment, control = arms
        margin = float(10 ** generator.uniform(-3, -0.5))
        absolute = margin * abs(mean)
        row = [*treatment, *control, margin, absolute]
        row += [float(welch(treatment, control, sign * absolute).pvalue) for sign in (-1, 1)]
        # Where the control mean could be zero at alpha = 0.05 a relative margin has no meaning.
        n_c, mean_c, var_c = control
        df = degrees_of_freedom(treatment, control)
        sure = abs(mean_c) > 1.001 * stats.t.isf(0.05, df) * (var_c / n_c) ** 0.5
        row += [float(fieller(treatment, control, sign * margin)) if sure else "" for sign in (-1, 1)]
        yield row


def write(name, columns, rows):
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns.split(","))
        writer.writerows(rows)


if __name__ == "__main__":
    arms = (56, 70, 48, 80)
    for hypothesis, corrected in ((0.1, False), (-0.05, False), (0.1, True)):
        z = score_difference(*arms, hypothesis, corrected)
        print("score difference", arms, hypothesis, corrected, z, "p above", float(stats.norm.sf(z)))
    for hypothesis in (1.25, 0.9):
        print("score ratio", arms, hypothesis, *score_ratio(*arms, hypothesis))
    first, second = (3461, 0.7, 38.44), (3407, 0.41, 15.21)
    print("G1 above -0.5", welch(first, second, -0.5).pvalue, "below 0.5", 1 - welch(first, second, 0.5).pvalue)
    generator = np.random.default_rng(20_242)
    write(
        "equivalence_proportions.csv",
        "x_t,n_t,x_c,n_c,margin,z_low,z_high,z_ratio_low,z_ratio_high",
        random_proportions(generator),
    )
    write(
        "equivalence_means.csv",
        "n_t,mean_t,variance_t,n_c,mean_c,variance_c,margin,absolute,"
        "above_low,above_high,above_lift_low,above_lift_high",
        random_means(generator),
    )
