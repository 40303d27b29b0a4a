"""Covariate adjustment by regression of the units themselves.

Enters: nothing; random cases come from a fixed seed. Leaves: fixtures/adjust.csv and golden numbers on standard output.

- CUPED: the effect and the slope are those of statsmodels' OLS on arm and covariate; variances and covariances of the
  adjusted means from NumPy's covariance matrix of the units, as linear functions of the arms' means.
- Lin: statsmodels' OLS of the fully interacted regression with HC2, and within each arm for the classical variance.
- To both, the variance of the covariates' overall means is added (slopes that differ between arms).
- Post-stratification: the formula.

    python -m pip install -r requirements.txt && python adjust.py
"""

import csv
import math
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from scipy import optimize, stats

FIXTURES = Path(__file__).parent / "fixtures"


def fieller(difference, baseline, v, w, k, critical):
    """Lifts relative to |baseline| that are kept: v, w variances of difference and baseline, k their covariance."""
    if critical**2 * w >= 0.98 * baseline**2:
        return None, None
    size, sign = abs(baseline), math.copysign(1, baseline)

    def excess(lift):
        return (difference - lift * size) ** 2 - critical**2 * (v - 2 * lift * sign * k + lift**2 * w)

    estimate, step = difference / size, 1.0
    while excess(estimate - step) < 0 or excess(estimate + step) < 0:
        step *= 2
    return (
        optimize.brentq(excess, estimate - step, estimate, xtol=1e-15),
        optimize.brentq(excess, estimate, estimate + step, xtol=1e-15),
    )


def result(difference, baseline, parts, v, w, k, plain):
    """parts: (variance, degrees) of each arm."""
    df = sum(part[0] for part in parts) ** 2 / sum(part[0] ** 2 / part[1] for part in parts)
    error, critical = math.sqrt(v), stats.t.isf(0.025, df)
    p = 2 * stats.t.sf(abs(difference) / error, df)
    return [difference, error, df, p, *fieller(difference, baseline, v, w, k, critical), 1 - v / plain]


def plain_variance(y_c, y_t):
    return y_c.var(ddof=1) / len(y_c) + y_t.var(ddof=1) / len(y_t)


def cuped(y_c, x_c, y_t, x_t):
    n_c, n_t = len(y_c), len(y_t)
    arm = np.r_[np.zeros(n_c), np.ones(n_t)]
    fit = sm.OLS(np.r_[y_c, y_t], np.column_stack([np.ones(n_c + n_t), arm, np.r_[x_c, x_t]])).fit()
    difference, theta = fit.params[1], fit.params[2]
    overall = np.r_[x_c, x_t].mean()
    baseline = y_c.mean() - theta * (x_c.mean() - overall)
    share_c, share_t = n_c / (n_c + n_t), n_t / (n_c + n_t)
    cov_c, cov_t = np.cov(y_c, x_c) / n_c, np.cov(y_t, x_t) / n_t
    d_c, d_t = np.array([-1, theta]), np.array([1, -theta])
    b_c, b_t = np.array([1, -theta + share_c * theta]), np.array([0, share_t * theta])
    parts = [(d_c @ cov_c @ d_c, n_c - 1), (d_t @ cov_t @ d_t, n_t - 1)]
    v = parts[0][0] + parts[1][0]
    w = b_c @ cov_c @ b_c + b_t @ cov_t @ b_t
    k = d_c @ cov_c @ b_c + d_t @ cov_t @ b_t
    return result(difference, baseline, parts, v, w, k, plain_variance(y_c, y_t))


def lin(y_c, x_c, y_t, x_t, hc2, values=None):
    """x: a row for each unit. `values` are the arms' own values where y is linearised (mean zero)."""
    n_c, n_t, p = len(y_c), len(y_t), x_c.shape[1]
    overall = np.vstack([x_c, x_t]).mean(axis=0)
    fits = [sm.OLS(y, sm.add_constant(x - overall)).fit() for y, x in ((y_c, x_c), (y_t, x_t))]
    variances = [fit.cov_params()[0, 0] for fit in fits]
    slopes = [fit.params[1:] for fit in fits]
    values = values or (0.0, 0.0)
    baseline = fits[0].params[0] + values[0]
    difference = fits[1].params[0] + values[1] - baseline
    if hc2:
        arm = np.r_[np.zeros(n_c), np.ones(n_t)]
        centred = np.vstack([x_c, x_t]) - overall
        design = np.column_stack([np.ones(n_c + n_t), arm, centred, centred * arm[:, None]])
        whole = sm.OLS(np.r_[y_c, y_t], design).fit(cov_type="HC2")
        assert abs(whole.params[1] - difference) < 1e-8 * (1 + abs(difference))
        variances[0] = whole.cov_params()[0, 0]
        variances[1] = whole.cov_params()[1, 1] - variances[0]
    gap = slopes[1] - slopes[0]
    share_c, share_t = n_c / (n_c + n_t), n_t / (n_c + n_t)
    spread_c = np.atleast_2d(np.cov(x_c.T)) * share_c**2 / n_c
    spread_t = np.atleast_2d(np.cov(x_t.T)) * share_t**2 / n_t
    parts = [
        (variances[0] + gap @ spread_c @ gap, n_c - p - 1),
        (variances[1] + gap @ spread_t @ gap, n_t - p - 1),
    ]
    v = parts[0][0] + parts[1][0]
    w = variances[0] + slopes[0] @ (spread_c + spread_t) @ slopes[0]
    k = -variances[0] + gap @ (spread_c + spread_t) @ slopes[0]
    return result(difference, baseline, parts, v, w, k, plain_variance(y_c, y_t))


def lin_ratio(y_c, z_c, x_c, y_t, z_t, x_t):
    ratios = [y.mean() / z.mean() for y, z in ((y_c, z_c), (y_t, z_t))]
    linear = [(y - r * z) / z.mean() for y, z, r in ((y_c, z_c, ratios[0]), (y_t, z_t, ratios[1]))]
    return lin(linear[0], x_c, linear[1], x_t, False, ratios)


def strata(groups):
    """Each group ((n, mean, variance) of the control, of the treatment)."""
    total = sum(c[0] + t[0] for c, t in groups)
    weights = [(c[0] + t[0]) / total for c, t in groups]
    gaps = [t[1] - c[1] for c, t in groups]
    difference = sum(w * g for w, g in zip(weights, gaps))
    baseline = sum(w * c[1] for w, (c, _) in zip(weights, groups))
    parts = [(w**2 * a[2] / a[0], a[0] - 1) for w, pair in zip(weights, groups) for a in pair]
    v = sum(part[0] for part in parts) + sum(w * (g - difference) ** 2 for w, g in zip(weights, gaps)) / total
    of_control = sum(w**2 * c[2] / c[0] for w, (c, _) in zip(weights, groups))
    w_ = of_control + sum(w * (c[1] - baseline) ** 2 for w, (c, _) in zip(weights, groups)) / total
    shared = sum(w * (g - difference) * (c[1] - baseline) for w, g, (c, _) in zip(weights, gaps, groups)) / total
    return result(difference, baseline, parts, v, w_, shared - of_control, 1.0)[:6]


def random_cases(generator):
    for case in range(84):
        n_c, n_t = (int(n) for n in generator.integers(40, 90, 2))
        width = 1 + case % 3
        mixing = generator.normal(0, 1, (width, width)) + 2 * np.eye(width)
        x = np.round(generator.normal(0, 1, (n_c + n_t, width)) @ mixing + generator.normal(0, 5, width), 2)
        slopes = generator.normal(0, 1, (2, width))
        arm = np.r_[np.zeros(n_c, int), np.ones(n_t, int)]
        level = generator.normal(30, 10)
        y = level + (x * slopes[arm]).sum(axis=1) + generator.normal(0, 2, n_c + n_t) + 0.5 * arm
        y = np.round(y, 3)
        control, treatment = (y[arm == 0], x[arm == 0]), (y[arm == 1], x[arm == 1])
        base = [width]
        for outcome, rows in zip(control + treatment, (1, width, 1, width)):
            base.append(";".join(f"{value:g}" for value in np.asarray(outcome).reshape(-1)))
        kinds = {"lin": lambda: lin(*control, *treatment, False), "hc2": lambda: lin(*control, *treatment, True)}
        if width == 1:
            kinds["cuped"] = lambda: cuped(control[0], control[1][:, 0], treatment[0], treatment[1][:, 0])
        kind = list(kinds)[case // 3 % len(kinds)]
        yield [kind, *base, *kinds[kind]()]


def recipient(index, lift):
    before, age, noise = (index * 37) % 101 / 10, (index * 53) % 29, (index * 71) % 43 / 8
    return 2 + lift + (0.8 + lift / 10) * before + 0.05 * age + noise, before, age


def golden():
    control = np.array([recipient(i, 0.0) for i in range(40)])
    treatment = np.array([recipient(i, 1.0) for i in range(40, 80)])
    y_c, x_c, y_t, x_t = control[:, 0], control[:, 1:], treatment[:, 0], treatment[:, 1:]

    def show(name, values):
        print(name, *(repr(float(value)) for value in values))

    print("difference, error, df, p, lift low, lift high, variance removed")
    show("cuped", cuped(y_c, x_c[:, 0], y_t, x_t[:, 0]))
    show("lin", lin(y_c, x_c, y_t, x_t, False))
    show("hc2", lin(y_c, x_c, y_t, x_t, True))
    clicks = [np.array([1 + (i * 13) % 5 for i in part], float) for part in (range(40), range(40, 80))]
    show("ratio", lin_ratio(y_c * clicks[0], clicks[0], x_c[:, :1], y_t * clicks[1], clicks[1], x_t[:, :1]))
    groups = [
        ((120, 2.0, 1.5), (100, 2.4, 2.0)),
        ((60, 5.0, 4.0), (80, 5.3, 3.0)),
        ((30, 9.0, 2.5), (25, 10.0, 6.0)),
    ]
    show("strata", strata(groups))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    header = "kind,width,y_c,x_c,y_t,x_t,difference,error,df,p,lift_low,lift_high,removed"
    with (FIXTURES / "adjust.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        for row in random_cases(np.random.default_rng(20240604)):
            writer.writerow([f"{float(cell):.11g}" if isinstance(cell, float) else cell for cell in row])
    golden()
