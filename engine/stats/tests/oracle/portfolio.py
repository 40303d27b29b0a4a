"""All experiments at once: the hierarchical normal model on a fine grid, wrong signs by quadrature.

Enters: nothing; random portfolios come from a fixed seed. Leaves: fixtures/portfolio.csv, and golden numbers on
standard output. The normal algebra given tau is checked against the whole vector's covariance
matrix; tau is averaged over by the trapezoidal rule.

    python -m pip install -r requirements.txt && python portfolio.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy import integrate, optimize, stats

FIXTURES = Path(__file__).parent / "fixtures"
ALPHA, MINIMUM = 0.05, 0.01


def design(effect, error, alpha=ALPHA):
    """Power, share of wrong signs and exaggeration, by integrating the density of the estimate."""
    edge = stats.norm.isf(alpha / 2) * error
    density = lambda x: stats.norm.pdf(x, effect, error)
    far = abs(effect) + 40 * error
    points = [effect] if edge < effect < far else None
    right = integrate.quad(density, edge, far, points=points, epsabs=0, epsrel=1e-12, limit=400)[0]
    wrong = integrate.quad(density, -far, -edge, epsabs=0, epsrel=1e-12, limit=400)[0]
    size = integrate.quad(lambda x: x * density(x), edge, far, points=points, epsabs=0, epsrel=1e-12, limit=400)[0]
    size -= integrate.quad(lambda x: x * density(x), -far, -edge, epsabs=0, epsrel=1e-12, limit=400)[0]
    return right + wrong, wrong / (right + wrong), size / (right + wrong) / abs(effect)


def given(y, v, tau):
    """Log density of y with the mean integrated out under a wide normal prior, and the effects' mean and covariance."""
    k, wide = len(y), 1e3 * (v.max() + y.var() + y.mean() ** 2)
    marginal = np.diag(v + tau**2) + wide
    log_density = stats.multivariate_normal.logpdf(y, np.zeros(k), marginal, allow_singular=True)
    prior = tau**2 * np.eye(k) + wide
    gain = prior @ np.linalg.inv(marginal)
    return log_density, gain @ y, prior - gain @ prior


def analyse(y, s):
    """Everything averaged over tau by the trapezoidal rule in its logarithm; flat prior on tau."""
    v, k = s**2, len(y)
    taus = np.geomspace(1e-7, 1e6, 6_001) * np.sqrt(np.median(v) + y.var())
    logs = np.array([marginal(y, v, tau) for tau in taus])
    weights = np.exp(logs - logs.max()) * taus
    weights /= weights.sum()
    precision = 1 / (v + taus[:, None] ** 2)
    mean_variance = 1 / precision.sum(1)
    mean = (precision * y).sum(1) * mean_variance
    b = v * precision
    shrunk = (1 - b) * y + b * mean[:, None]
    variances = v * (1 - b) + b**2 * mean_variance[:, None]
    winner = y > stats.norm.isf(ALPHA / 2) * s

    def moments(means, spreads):
        centre = weights @ means
        return centre, np.sqrt(weights @ (spreads + (means - centre) ** 2))

    effects = [moments(shrunk[:, i], variances[:, i]) for i in range(k)]
    above = lambda bar: weights @ stats.norm.sf(bar, shrunk, np.sqrt(variances))
    above_zero, above_minimum = above(0.0), above(MINIMUM)
    covariance_of_sum = (v * (1 - b))[:, winner].sum(1) + b[:, winner].sum(1) ** 2 * mean_variance
    total, total_error = moments(shrunk[:, winner].sum(1), covariance_of_sum)
    cumulative = np.cumsum(weights) - weights / 2
    low, median, high = np.interp([ALPHA / 2, 0.5, 1 - ALPHA / 2], cumulative, taus)
    below = lambda x: weights @ stats.norm.cdf(x, mean, np.sqrt(mean_variance))
    reach = 1e3 * (np.ptp(y) + s.max())
    quantile = lambda share: optimize.brentq(lambda x: below(x) - share, y.mean() - reach, y.mean() + reach, xtol=1e-13)
    # Lee and Shen: each effect's chance of crossing its bar, differentiated, at the estimate.
    curse = sum(e * stats.norm.pdf(stats.norm.isf(ALPHA / 2) * e, x, e) * e for x, e in zip(y, s))
    return {
        "mean": quantile(0.5),
        "mean_low": quantile(ALPHA / 2),
        "mean_high": quantile(1 - ALPHA / 2),
        "spread": median,
        "spread_low": low,
        "spread_high": high,
        "shrunk": ";".join(f"{x:.11g}" for x, _ in effects),
        "deviations": ";".join(f"{x:.11g}" for _, x in effects),
        "wins": above_zero.sum(),
        "wins_minimum": above_minimum.sum(),
        "winners": int(winner.sum()),
        "false_share": 1 - above_zero[winner].mean() if winner.any() else "",
        "naive_total": y[winner].sum(),
        "total": total if winner.any() else "",
        "total_error": total_error if winner.any() else "",
        "curse_corrected": y[winner].sum() - curse if winner.any() else "",
    }


def marginal(y, v, tau):
    precision = 1 / (v + tau**2)
    mean = precision @ y / precision.sum()
    return stats.norm.logpdf(y, mean, np.sqrt(v + tau**2)).sum() - 0.5 * np.log(precision.sum())


def check_by_matrices(y, s):
    """The closed forms above against the model written as one normal vector."""
    v = s**2
    for tau in (0.5, 5.0, 20.0):
        log_density, means, covariance = given(y, v, tau)
        other, _, _ = given(y, v, 1.0)
        assert abs((log_density - other) - (marginal(y, v, tau) - marginal(y, v, 1.0))) < 1e-3
        precision = 1 / (v + tau**2)
        mean = precision @ y / precision.sum()
        b = v * precision
        assert np.allclose(means, (1 - b) * y + b * mean, atol=0.02)
        assert np.allclose(covariance, np.diag(v * (1 - b)) + np.outer(b, b) / precision.sum(), atol=0.05)


def random_portfolios(generator):
    for number in range(60):
        k = int(generator.integers(4, 40))
        s = np.round(generator.uniform(0.005, 0.06, k), 4)
        theta = generator.normal(generator.choice([0, 0.01, -0.01]), generator.choice([0, 0.01, 0.03, 0.1]), k)
        y = np.round(generator.normal(theta, s), 4)
        yield {"estimates": ";".join(map(str, y)), "errors": ";".join(map(str, s)), **analyse(y, s)}


if __name__ == "__main__":
    schools = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    check_by_matrices(*schools)
    print("eight schools", analyse(*schools))
    for pair in ((0.1, 3.28), (0.3, 4.3), (2.0, 8.1), (0.02, 0.01), (3.0, 1.0)):
        print("design", *pair, *map(float, design(*pair)))
    with (FIXTURES / "portfolio.csv").open("w", newline="") as file:
        rows = list(random_portfolios(np.random.default_rng(20_261)))
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{x:.11g}" if isinstance(x, float) else x for key, x in row.items()})
