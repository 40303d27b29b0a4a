"""Prints the golden numbers that the tests of sendlift-stats pin.

Enters: nothing but the summary numbers written below. Leaves: one line a number, `name value…`, on standard output.
Sources: SciPy and statsmodels in the versions of requirements.txt; where a library is known to be wrong, or has no
such function, the definition is solved directly (a likelihood maximised with mpmath, a test inverted by brentq).

    python -m pip install -r requirements.txt && python golden_numbers.py
"""

import warnings

import mpmath
import numpy as np
from scipy import optimize, stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    power_proportions_2indep,
    proportion_confint,
    proportions_ztest,
)

warnings.simplefilter("ignore")
mpmath.mp.dps = 30


def show(name, *values):
    print(name, *(repr(float(value)) for value in values))


def distributions():
    for z in (0.5, 1.959963984540054, 3.0, 15.0):
        show(f"normal two-sided p, z {z}", 2 * stats.norm.sf(z))
    for alpha in (0.2, 0.1, 0.05, 0.01, 1e-10):
        show(f"normal critical value, alpha {alpha}", stats.norm.isf(alpha / 2))
    for t, df in ((2.0, 1.0), (2.5, 5.5), (10.0, 30.0), (1.5, 1999.0), (1.5, 2001.0), (3.0, 1e6), (20.0, 50.0)):
        show(f"t two-sided p, t {t} df {df}", 2 * stats.t.sf(t, df))
    for alpha, df in ((0.05, 1.0), (0.05, 4.5), (0.01, 30.0), (0.05, 5841.742), (0.05, 1e9), (1e-6, 3.0)):
        show(f"t critical value, alpha {alpha} df {df}", stats.t.isf(alpha / 2, df))
    for x, df in ((4.7071, 7), (0.5, 2), (300.0, 3), (1e-3, 1)):
        show(f"chi-square upper tail, x {x} df {df}", stats.chi2.sf(x, df))


def profile_variance(treatment, control, difference):
    """Variance of the difference at the likelihood's maximum under p_t - p_c = difference: its derivative, which falls
    from one end to the other where every count is above zero, is halved down to a root with 30 digits."""
    (x_t, n_t), (x_c, n_c) = treatment, control
    difference = mpmath.mpf(difference)

    def slope(p_c):
        p_t = p_c + difference
        return x_t / p_t - (n_t - x_t) / (1 - p_t) + x_c / p_c - (n_c - x_c) / (1 - p_c)

    low, high = max(mpmath.mpf(0), -difference), min(mpmath.mpf(1), 1 - difference)
    for _ in range(110):
        p_c = (low + high) / 2
        low, high = (p_c, high) if slope(p_c) > 0 else (low, p_c)
    p_t = p_c + difference
    return p_t * (1 - p_t) / n_t + p_c * (1 - p_c) / n_c


def score_difference(treatment, control, corrected):
    """Mee's interval by its definition: statsmodels 0.15 writes `count0 * diff` in the cubic where Miettinen and
    Nurminen (1985) have `nobs0 * diff`, and so misses Newcombe's table II (1998): .0533 to .3377 for 56/70 v 48/80."""
    (x_t, n_t), (x_c, n_c) = treatment, control
    total = n_t + n_c
    factor = total / (total - 1) if corrected else 1.0
    estimate = mpmath.mpf(x_t) / n_t - mpmath.mpf(x_c) / n_c
    critical = stats.norm.isf(0.025)

    def excess(difference):
        variance = factor * profile_variance(treatment, control, difference)
        return float(abs(estimate - mpmath.mpf(difference)) - critical * mpmath.sqrt(variance))

    low = optimize.brentq(excess, -1 + 1e-9, float(estimate), xtol=1e-17, rtol=1e-15)
    high = optimize.brentq(excess, float(estimate), 1 - 1e-9, xtol=1e-17, rtol=1e-15)
    return low, high


def proportions():
    for x, n in ((56, 70), (0, 10), (10, 10), (3, 10), (3894, 21307)):
        show(f"wilson {x}/{n}", *proportion_confint(x, n, method="wilson"))
    pairs = {
        "56/70 v 48/80": ((56, 70), (48, 80)),
        "9/10 v 3/10": ((9, 10), (3, 10)),
        "13/47 v 19/53": ((13, 47), (19, 53)),
        "87/1529 v 62/1471": ((87, 1529), (62, 1471)),
        "hillstrom mens visits": ((3894, 21307), (2262, 21306)),
        "hillstrom mens conversions": ((267, 21307), (122, 21306)),
        "hillstrom womens visits": ((3238, 21387), (2262, 21306)),
        "hillstrom womens conversions": ((189, 21387), (122, 21306)),
        "outvote": ((132105, 185179), (7051, 9939)),
        "outvote subset": ((20517, 26010), (1103, 1454)),
    }
    for name, (treatment, control) in pairs.items():
        (x_t, n_t), (x_c, n_c) = treatment, control
        show(f"pooled z, {name}", *proportions_ztest([x_t, x_c], [n_t, n_c]))
        for corrected in (False, True):
            word = "corrected " if corrected else ""
            show(f"{word}score difference, {name}", *score_difference(treatment, control, corrected))
            if name != "9/10 v 3/10":  # its root search fails there
                ratio = confint_proportions_2indep(
                    x_t, n_t, x_c, n_c, method="score", compare="ratio", correction=corrected
                )
                show(f"{word}score ratio, {name}", *ratio)
        show(f"newcombe, {name}", *confint_proportions_2indep(x_t, n_t, x_c, n_c, method="newcomb"))
    show("newcombe, 10/10 v 0/20", *confint_proportions_2indep(10, 10, 0, 20, method="newcomb"))


def fieller(treatment, control, alpha):
    """Inverts Welch's t for mean_t - ratio * mean_c, with the degrees of freedom of the plain difference."""
    (n_t, mean_t, var_t), (n_c, mean_c, var_c) = treatment, control
    se_t, se_c = var_t / n_t, var_c / n_c
    df = (se_t + se_c) ** 2 / (se_t**2 / (n_t - 1) + se_c**2 / (n_c - 1))
    critical = stats.t.isf(alpha / 2, df)
    estimate = mean_t / mean_c

    def excess(ratio):
        return (mean_t - ratio * mean_c) ** 2 - critical**2 * (se_t + ratio**2 * se_c)

    step = max(1.0, abs(estimate))
    while excess(estimate - step) < 0 or excess(estimate + step) < 0:
        step *= 2
    low = optimize.brentq(excess, estimate - step, estimate, xtol=1e-14)
    high = optimize.brentq(excess, estimate, estimate + step, xtol=1e-14)
    return df, low - 1, high - 1


def from_sums(n, total, squares):
    mean = total / n
    return n, mean, (squares - n * mean * mean) / (n - 1)


def means():
    pairs = {
        "G1": (from_sums(3461, 2422.7, 134698.29), from_sums(3407, 1396.87, 52377.9767)),
        "hillstrom mens spend": (
            (21307, 1.422616511005773, 315.21179886555484),
            (21306, 0.6527893551112361, 134.28637185302165),
        ),
        "hillstrom womens spend": (
            (21387, 1.0772015710478329, 228.4966748346595),
            (21306, 0.6527893551112361, 134.28637185302165),
        ),
        "small": ((5, 12.0, 4.0), (8, 10.0, 9.0)),
    }
    for name, (treatment, control) in pairs.items():
        (n_t, mean_t, var_t), (n_c, mean_c, var_c) = treatment, control
        test = stats.ttest_ind_from_stats(mean_t, var_t**0.5, n_t, mean_c, var_c**0.5, n_c, equal_var=False)
        df, low, high = fieller(treatment, control, 0.05)
        half = stats.t.isf(0.025, df) * (var_t / n_t + var_c / n_c) ** 0.5
        show(f"welch t, p, df, {name}", test.statistic, test.pvalue, df)
        show(f"welch interval, {name}", mean_t - mean_c - half, mean_t - mean_c + half)
        show(f"fieller lift, {name}", mean_t / mean_c - 1, low, high)


def trust_and_several():
    for counts in ((502, 498), (600, 400), (44000, 45000), (21307, 21387, 21306)):
        show(f"sample ratio {counts}", *stats.chisquare(counts))
    observed = np.array([185179, 9939])
    show("sample ratio outvote", *stats.chisquare(observed, observed.sum() * np.array([0.95, 0.05])))
    show("holm", *multipletests([0.01, 0.04, 0.03, 0.005, 0.55, 0.6], method="holm")[1])
    show("bh", *multipletests([0.898, 0.138, 0.007, 0.964, 0.538, 0.006, 0.138], method="fdr_bh")[1])


def pooled(name, effects, variances):
    effects, variances = np.array(effects), np.array(variances)
    result = combine_effects(effects, variances, method_re="chi2", use_t=False)
    count = len(effects)
    show(f"fixed mean, variance, {name}", result.mean_effect_fe, 1 / np.sum(1 / variances))
    show(f"q, p, i2, tau2, {name}", result.q, stats.chi2.sf(result.q, count - 1), result.i2, result.tau2)
    # Shrinkage by the formulas of heterogeneity.rs (Morris 1983, section 5, one common mean).
    weights = 1 / (variances + max(result.tau2, 0.0))
    mean = np.sum(weights * effects) / np.sum(weights)
    shrink = variances * weights
    estimate = mean + (effects - mean) * (1 - shrink)
    typical = np.sum(weights * variances) / np.sum(weights)
    added = 2 / (count - 3) * shrink**2 * (typical + max(result.tau2, 0.0)) * weights
    variance = variances * (1 - shrink) + shrink**2 / np.sum(weights) + added * (effects - mean) ** 2
    show(f"random mean, variance, {name}", mean, 1 / np.sum(weights))
    show(f"shrunk, {name}", *estimate)
    show(f"shrunk variances, {name}", *variance)


def heterogeneity():
    schools = [28, 8, -3, 7, -1, 1, 18, 12], np.square([15.0, 10, 16, 11, 9, 11, 10, 18])
    pooled("eight schools", *schools)
    pooled("spread", [0.1, 0.3, 0.35, 0.65, 0.45], [0.003, 0.03, 0.05, 0.01, 0.05])


def planning():
    z_alpha, z_beta = stats.norm.isf(0.025), stats.norm.isf(0.2)
    for first, second in ((0.20, 0.25), (0.02, 0.025)):
        middle = (first + second) / 2
        if_nothing_differs = (2 * middle * (1 - middle)) ** 0.5
        if_planned = (first * (1 - first) + second * (1 - second)) ** 0.5
        needed = (z_alpha * if_nothing_differs + z_beta * if_planned) ** 2 / (second - first) ** 2
        show(f"n per arm {first} to {second}", needed)
    show("power 0.20 to 0.25, n 1094", power_proportions_2indep(0.05, 0.20, 1094).power)
    show("n per arm, means, difference 0.5 variance 16", TTestIndPower().solve_power(0.5 / 4, alpha=0.05, power=0.8))
    show("power, means, difference 0.5 variance 16 n 500", TTestIndPower().power(0.5 / 4, 500, 0.05))
    show(
        "power, mean 10 variance 3909.99977, n 133333, lift 5 %",
        TTestIndPower().power(0.5 / 3909.99977**0.5, 133333, 0.05),
    )
    show("detectable, means, variance 16 n 500", 4 * TTestIndPower().solve_power(nobs1=500, alpha=0.05, power=0.8))


if __name__ == "__main__":
    distributions()
    proportions()
    means()
    trust_and_several()
    heterogeneity()
    planning()
