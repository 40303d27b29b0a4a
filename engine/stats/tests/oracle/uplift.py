"""Uplift: curves, areas, rank averages and regressions from their definitions, and learners fitted fold by fold.

Enters: nothing. Leaves: fixtures/uplift_units.csv (made-up randomised units with scores), fixtures/uplift.csv (a line a case:
Qini, normalised Qini, area under the uplift curve and points of the curves, TOC and AUTOC, best linear predictor, groups, with
errors and bootstrap ends) and fixtures/uplift_learners.csv (what T-, X- and doubly robust learners say of each unit, with
straight lines for outcomes and two means for effects, folds dealt by SplitMix64 as the crate documents). Curves are sums over masks, threshold by threshold; regressions are statsmodels' WLS with HC2; normalised
Qini and curve areas are asserted against scikit-uplift where it applies (one probability of treatment, outcomes 0 and 1).

    python -m pip install -r requirements.txt && python uplift.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from sklift.metrics import qini_auc_score, qini_curve, uplift_curve

# scikit-uplift calls what scikit-learn will remove.
warnings.filterwarnings("ignore", category=FutureWarning)
FIXTURES = Path(__file__).parent / "fixtures"
SAMPLES = 4_000
SHARES = (0.01, 0.1, 0.33, 0.5, 0.9, 1.0)


def sums(mask, y, d, w):
    treated, control = mask & d, mask & ~d
    return w[treated].sum(), (w * y)[treated].sum(), w[control].sum(), (w * y)[control].sum()


def curves(y, d, w, score):
    """Points (units so far, Radcliffe's Q, uplift times units so far), threshold by threshold."""
    points = [(0.0, 0.0, 0.0)]
    for threshold in sorted(set(score), reverse=True):
        mask = score >= threshold
        n_t, s_t, n_c, s_c = sums(mask, y, d, w)
        mean_t, mean_c = (s_t / n_t if n_t else 0.0), (s_c / n_c if n_c else 0.0)
        points.append((float(mask.sum()), s_t - mean_c * n_t, (mean_t - mean_c) * mask.sum()))
    return np.array(points).T


def ranking(y, d, w, score):
    units, qini, uplift = curves(y, d, w, score)
    n, treated = len(y), w[d].sum()
    diagonal = n * qini[-1] / 2
    area = np.trapezoid(qini, units) - diagonal
    result = {"effect": uplift[-1] / n, "qini": area / n / treated, "auuc": np.trapezoid(uplift, units) / n**2, "normalised": ""}
    binary = set(np.unique(y)) <= {0.0, 1.0}
    if binary:
        at, perfect, _ = curves(y, d, w, np.where(d, y, -y))
        result["normalised"] = area / (np.trapezoid(perfect, at) - diagonal)
    targets = n * np.array(SHARES)
    result["curve"] = np.interp(targets, units, qini) / treated
    result["uplift"] = np.interp(targets, units, uplift) / targets
    if binary and len(set(w)) == 1:
        assert abs(result["normalised"] - qini_auc_score(y, score, d.astype(int))) < 1e-9
        x, theirs = qini_curve(y, score, d.astype(int))
        assert abs(np.trapezoid(theirs, x) / n / d.sum() - np.trapezoid(qini, units) / n / treated) < 1e-9
        x, theirs = uplift_curve(y, score, d.astype(int))
        assert abs(np.trapezoid(theirs, x) / n**2 - result["auuc"]) < 1e-9
    return result


def resampled(y, d, w, score, draws):
    """Qini and area under the uplift curve of every sample at once."""
    thresholds = np.array(sorted(set(score), reverse=True))
    inside = (score[:, None] >= thresholds[None, :]).astype(float)
    at = lambda values: np.hstack([np.zeros((len(draws), 1)), (draws * values) @ inside])
    n, n_t, s_t, n_c, s_c = at(np.ones(len(y))), at(w * d), at(w * d * y), at(w * ~d), at(w * ~d * y)
    mean = lambda s, m: np.divide(s, m, out=np.zeros_like(s), where=m > 0)
    qini, uplift = s_t - mean(s_c, n_c) * n_t, (mean(s_t, n_t) - mean(s_c, n_c)) * n
    area = lambda heights: np.trapezoid(heights, n, axis=1)
    total = n[:, -1]
    return (area(qini) - total * qini[:, -1] / 2) / total / n_t[:, -1], area(uplift) / total**2


def characteristic(scores, priority):
    """The targeting operator characteristic at every unit, equals as their mean, and its mean."""
    levelled = np.array([scores[priority == own].mean() for own in priority])
    order = np.argsort(-priority, kind="stable")
    means = np.array([levelled[order[: k + 1]].mean() for k in range(len(order))]) - scores.mean()
    return means, means.mean()


def fit(y, d, e, extra, columns):
    exog = np.column_stack([np.ones(len(y)), extra, *columns])
    fitted = sm.WLS(y, exog, weights=1 / (e * (1 - e))).fit()
    # statsmodels has HC2 from the whitened design.
    return fitted.params[2:], fitted.HC2_se[2:], fitted.cov_HC2[2:, 2:]


def regressions(y, d, e, expected, predicted):
    away = d - e
    coefficient, error, _ = fit(y, d, e, expected, [away, away * (predicted - predicted.mean())])
    result = {"beta": coefficient, "beta_error": error}
    cuts = np.unique([np.quantile(predicted, g / 5, method="inverted_cdf") for g in range(1, 6)])
    group = np.array([(cuts < own).sum() for own in predicted])
    coefficient, error, covariance = fit(y, d, e, expected, [away * (group == g) for g in range(len(cuts))])
    contrast = np.zeros(len(cuts))
    contrast[[0, -1]] = -1, 1
    result |= {"gates": coefficient, "gates_error": error, "group_units": np.bincount(group).astype(float)}
    result |= {"difference": contrast @ coefficient, "difference_error": float(np.sqrt(contrast @ covariance @ contrast))}
    return result


def least_squares(x, y, w):
    """A line through the feature: the learner of outcomes."""
    return sm.WLS(y, sm.add_constant(x, has_constant="add"), weights=w).fit().params


def halves(x, y, w):
    """A mean on either side of one half: the learner of effects."""
    return [np.average(y[side], weights=w[side]) for side in (x < 0.5, x >= 0.5)]


def learners(x, y, d, e, fold):
    """Effects out of fold and of the final models, by T-, X- and doubly robust learner; all by loops over folds."""
    line = lambda beta, at: beta[0] + beta[1] * at
    w = np.where(d, 1 / e, 1 / (1 - e)) if len(set(e)) > 1 else np.ones(len(y))
    arm = lambda kept, own: least_squares(x[kept & (d == own)], y[kept & (d == own)], w[kept & (d == own)])
    score = lambda mu1, mu0: mu1 - mu0 + np.where(d, (y - mu1) / e, -(y - mu0) / (1 - e))
    mean = lambda both, at: np.where(at < 0.5, both[0], both[1])
    share = e.mean()

    def t_learner(kept):
        treated, control = arm(kept, True), arm(kept, False)
        return line(treated, x) - line(control, x)

    def x_learner(kept):
        treated, control = arm(kept, True), arm(kept, False)
        imputed = np.where(d, y - line(control, x), line(treated, x) - y)
        tau = [halves(x[m], imputed[m], w[m]) for m in (kept & d, kept & ~d)]
        return share * mean(tau[1], x) + (1 - share) * mean(tau[0], x)

    def doubly_robust(kept):
        scores = np.full(len(y), np.nan)
        for own in np.unique(fold[kept]):
            rest = kept & (fold != own)
            scores[fold == own] = score(line(arm(rest, True), x), line(arm(rest, False), x))[fold == own]
        return mean(halves(x[kept], scores[kept], np.ones(kept.sum())), x)

    result = {}
    for name, learner in {"t": t_learner, "x": x_learner, "dr": doubly_robust}.items():
        result[name] = np.full(len(y), np.nan)
        for own in np.unique(fold):
            result[name][fold == own] = learner(fold != own)[fold == own]
        result[f"{name}_final"] = learner(np.ones(len(y), bool))
    return result


def split_mix(counter):
    """SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = (counter + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


def folds(d, number, seed):
    """Units of each arm in the order of their bits, dealt in turn: treated from the first fold, control from the last."""
    fold = np.full(len(d), -1)
    for arm in (True, False):
        units = [i for i in range(len(d)) if d[i] == arm]
        units.sort(key=lambda i: split_mix(split_mix(split_mix(seed) ^ int(arm)) ^ i))
        for turn, i in enumerate(units):
            fold[i] = turn % number if arm else number - 1 - turn % number
    return fold


def made_up(generator, number):
    n = int(generator.integers(60, 220))
    x = generator.random(n).round(4)
    even = number % 2 == 0
    e = np.full(n, float(generator.choice([0.5, 0.2, 0.7]))) if even else (0.2 + 0.6 * generator.random(n)).round(3)
    d = generator.random(n) < e
    d[:6] = [True, False] * 3
    effect = 0.3 * x if number % 3 else 0.0 * x
    if number % 4 < 2:
        y = (generator.random(n) < 0.2 + 0.2 * x + d * effect).astype(float)
    else:
        y = (generator.normal(2 * x + d * effect * 3, 1) * 10 ** float(generator.integers(-1, 3))).round(4)
    score = (effect + generator.normal(0, 0.2, n)).round(1 if number % 5 == 0 else 6)
    other = (effect + generator.normal(0, 0.5, n)).round(6)
    expected = (0.2 + 0.2 * x + generator.normal(0, 0.05, n)).round(6)
    return {"x": x, "outcome": y, "treated": d, "probability": e, "score": score, "other": other, "expected": expected}


def analyse(units, generator):
    y, d, e, score, other = (units[key] for key in ("outcome", "treated", "probability", "score", "other"))
    w = np.where(d, 1 / e, 1 / (1 - e)) if len(set(e)) > 1 else np.ones(len(y))
    result = ranking(y, d, w, score)
    draws = generator.poisson(1, (SAMPLES, len(y)))
    own, rival = resampled(y, d, w, score, draws), resampled(y, d, w, other, draws)
    second = ranking(y, d, w, other)
    for key, samples, value in (
        ("qini", own[0], None),
        ("auuc", own[1], None),
        ("qini_gain", own[0] - rival[0], result["qini"] - second["qini"]),
        ("auuc_gain", own[1] - rival[1], result["auuc"] - second["auuc"]),
    ):
        if value is not None:
            result[key] = value
        result[f"{key}_error"] = samples.std(ddof=1)
        result[f"{key}_low"], result[f"{key}_high"] = np.quantile(samples, [0.025, 0.975])
    scores = np.where(d, y / e, -y / (1 - e))
    means, result["autoc"] = characteristic(scores, score)
    result["toc"] = means[[0, len(y) // 2, len(y) - 1]]
    halves = []
    for _ in range(SAMPLES // 4):
        half = generator.permutation(len(y))[: len(y) // 2]
        halves.append(characteristic(scores[half], score[half])[1])
    result["autoc_error"] = np.std(halves, ddof=1)
    return result | regressions(y, d, e, units["expected"], score)


def text(value):
    if isinstance(value, np.ndarray):
        return ";".join(text(float(item)) for item in value)
    return str(int(value)) if isinstance(value, (bool, np.bool_)) else value if isinstance(value, str) else f"{value:.11g}"


def write(name, lines):
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: text(value) for key, value in line.items()} for line in lines)


if __name__ == "__main__":
    generator = np.random.default_rng(20_271)
    unit_lines, lines, learner_lines = [], [], []
    for number in range(24):
        units = made_up(generator, number)
        lines.append({"case": str(number)} | analyse(units, np.random.default_rng(number)))
        n = len(units["x"])
        unit_lines += [{"case": str(number)} | {key: values[i] for key, values in units.items()} for i in range(n)]
    for number in range(24, 28):
        units = made_up(generator, number)
        x, y, d, e = (units[key] for key in ("x", "outcome", "treated", "probability"))
        result = {"fold": folds(d, 5, number)} | learners(x, y, d, e, folds(d, 5, number))
        for i in range(len(x)):
            unit_lines.append({"case": str(number)} | {key: values[i] for key, values in units.items()})
            learner_lines.append({"case": str(number)} | {key: values[i] for key, values in result.items()})
    write("uplift_units.csv", unit_lines)
    write("uplift.csv", lines)
    write("uplift_learners.csv", learner_lines)
