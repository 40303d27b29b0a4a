"""How good predictions are: scikit-learn, statsmodels, and DeLong's errors from every pair of units.

Enters: nothing. Leaves: fixtures/prediction_quality.csv, one data set a line: two models' predictions, outcomes, and what follows.
Areas, losses and skills by scikit-learn; DeLong's variances from the matrix of all pairs; errors of skills by numerical
derivatives over the means of losses and outcomes; recalibration by SciPy's minimiser and root finder; Wilson's intervals and z
tests by statsmodels; Koopman's interval as the ratios that statsmodels' score test does not reject.

    python -m pip install -r requirements.txt && python prediction_quality.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize, root
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from sklearn.metrics import brier_score_loss, d2_brier_score, d2_log_loss_score, log_loss, roc_auc_score
from statsmodels.stats.proportion import proportion_confint, score_test_proportions_2indep
from statsmodels.stats.weightstats import DescrStatsW, ztest

FIXTURES = Path(__file__).parent / "fixtures"
GENERATOR = np.random.default_rng(1_988)
EPSILON = np.finfo(float).eps
CRITICAL = norm.ppf(0.975)


def text(values):
    return ";".join(f"{value:.11g}" for value in values)


def pairs(predictions, outcomes):
    """1 where the unit with the outcome is higher, one half where both are alike: a row a unit with the outcome."""
    with_outcome, without = predictions[outcomes == 1], predictions[outcomes == 0]
    return (np.sign(with_outcome[:, None] - without[None, :]) + 1) / 2


def delong(*kernels):
    """Covariance matrix of the areas."""
    rows, columns = kernels[0].shape
    of_rows = np.atleast_2d(np.cov([kernel.mean(1) for kernel in kernels]))
    of_columns = np.atleast_2d(np.cov([kernel.mean(0) for kernel in kernels]))
    return of_rows / rows + of_columns / columns


def skill_error(losses, outcomes, base_loss):
    values = np.array([losses, outcomes])
    skill = lambda means: 1 - means[0] / base_loss(means[1])
    means, step = values.mean(1), 1e-6
    gradient = [(skill(means + step * e) - skill(means - step * e)) / (2 * step) for e in np.eye(2)]
    return float(np.sqrt(gradient @ np.cov(values) @ gradient / len(outcomes)))


def koopman(successes, units, other_successes, other_units):
    """Ends of the ratio of the first rate to the second."""

    def excess(log_ratio):
        test = score_test_proportions_2indep(
            successes, units, other_successes, other_units, np.exp(log_ratio), compare="ratio", correction=False
        )
        return abs(test.statistic) - CRITICAL

    centre = np.log((successes or 0.5) / units) - np.log((other_successes or 0.5) / other_units)
    low = np.exp(brentq(excess, centre - 12, centre, xtol=1e-13)) if successes else 0.0
    high = np.exp(brentq(excess, centre, centre + 12, xtol=1e-13)) if other_successes else np.inf
    return low, high


def carried(end, part):
    return 1 / part if np.isinf(end) else end / (part * end + 1 - part)


def analyse(first, second, outcomes):
    line = {"first": text(first), "second": text(second), "outcomes": text(outcomes)}
    own, other = pairs(first, outcomes), pairs(second, outcomes)
    area, covariance = roc_auc_score(outcomes, first), delong(own, other)
    if 0 < area < 1:
        half = CRITICAL * np.sqrt(covariance[0, 0]) / (area * (1 - area))
        line |= {"area_low": expit(logit(area) - half), "area_high": expit(logit(area) + half)}
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    line |= {"area": area, "area_difference": roc_auc_score(outcomes, second) - area, "area_difference_error": error}

    clipped = np.clip(first, EPSILON, 1 - EPSILON)
    unit_losses = {
        "log": lambda p: -np.log(np.where(outcomes == 1, np.clip(p, EPSILON, 1), 1 - np.clip(p, 0, 1 - EPSILON))),
        "brier": lambda p: (p - outcomes) ** 2,
    }
    base = {"log": lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p), "brier": lambda p: p * (1 - p)}
    line |= {"log": log_loss(outcomes, first), "log_skill": d2_log_loss_score(outcomes, first)}
    line |= {"brier": brier_score_loss(outcomes, first), "brier_skill": d2_brier_score(outcomes, first)}
    for name, loss in unit_losses.items():
        losses, differences = loss(first), loss(second) - loss(first)
        line[f"{name}_low"], line[f"{name}_high"] = DescrStatsW(losses).zconfint_mean()
        line[f"{name}_skill_error"] = skill_error(losses, outcomes, base[name])
        statistic, p_value = ztest(differences)
        line |= {f"{name}_difference": differences.mean(), f"{name}_statistic": statistic, f"{name}_p": p_value}

    ranks = np.round(2 * rankdata(first)).astype(int)
    bins = 10 * (ranks - 1) // (2 * len(first))
    table = [(first[bins == bin], outcomes[bins == bin]) for bin in np.unique(bins)]
    line["bin_units"] = text([len(p) for p, _ in table])
    line["bin_predicted"] = text([p.mean() for p, _ in table])
    line["bin_observed"] = text([y.mean() for _, y in table])
    line["bin_high"] = text([proportion_confint(y.sum(), len(y), method="wilson")[1] for _, y in table])
    line["calibration_error"] = sum(len(p) * abs(p.mean() - y.mean()) for p, y in table) / len(first)
    scores = logit(clipped)
    large = brentq(lambda shift: (outcomes - expit(shift + scores)).sum(), -80, 80, xtol=1e-14)
    spread = expit(large + scores) * expit(-large - scores)
    line |= {"in_the_large": large, "in_the_large_error": spread.sum() ** -0.5}
    design = np.column_stack([np.ones(len(first)), scores])
    slopes = lambda line: design.T @ (outcomes - expit(design @ line))
    information = lambda line: design.T @ (design * (expit(design @ line) * expit(-design @ line))[:, None])
    loss = lambda line: np.logaddexp(0, design @ line).sum() - outcomes @ design @ line
    groups = first[outcomes == 1], first[outcomes == 0]
    is_separated = groups[0].min() >= groups[1].max() or groups[1].min() >= groups[0].max()
    if not is_separated:
        near = minimize(loss, [0, 0.5], jac=lambda line: -slopes(line), method="BFGS").x
        best = root(slopes, near, jac=lambda line: -information(line), tol=1e-14).x
        errors = np.sqrt(np.diag(np.linalg.inv(information(best))))
        line |= {"intercept": best[0], "slope": best[1], "intercept_error": errors[0], "slope_error": errors[1]}

    order, n, successes = np.argsort(-first, kind="stable"), len(first), int(outcomes.sum())
    deciles = [outcomes[order[n * decile // 10 : n * (decile + 1) // 10]] for decile in range(10)]
    deciles = [decile for decile in deciles if len(decile)]
    ends = [koopman(int(d.sum()), len(d), successes - int(d.sum()), n - len(d)) for d in deciles]
    line["lift"] = text([d.mean() / outcomes.mean() for d in deciles])
    line["lift_low"] = text([carried(low, len(d) / n) for (low, _), d in zip(ends, deciles)])
    line["lift_high"] = text([carried(high, len(d) / n) for (_, high), d in zip(ends, deciles)])
    line["captured"] = text(np.cumsum([d.sum() for d in deciles]) / successes)
    return {name: value if isinstance(value, str) else f"{value:.11g}" for name, value in line.items()}


def case(index):
    units = int(GENERATOR.integers(12, 150))
    score = GENERATOR.normal(-1, 1, units)
    outcomes = (GENERATOR.random(units) < expit(score)).astype(float)
    outcomes[:4] = [1, 0, 1, 0]
    first = expit(score * GENERATOR.uniform(0.3, 2) + GENERATOR.normal(0, [0.1, 1, 3][index % 3], units))
    second = expit(score + GENERATOR.normal(0, 0.7, units))
    # Few distinct predictions; certainty; a nearly perfect model.
    if index % 4 == 1:
        first = np.round(first, 1)
    if index % 4 == 2:
        second = np.round(second, 1)
    if index % 8 == 3:
        first = expit(6 * outcomes - 3 + GENERATOR.normal(0, 1.5, units))
    digits = np.vectorize(lambda value: float(f"{value:.6g}"))
    return analyse(digits(first), digits(second), outcomes)


def main():
    lines = [case(index) for index in range(64)]
    names = list(dict.fromkeys(name for line in lines for name in line))
    with (FIXTURES / "prediction_quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
