"""Balance of arms: SciPy's contingency tables, Hansen and Bowers on units, Lee's bounds by trimming units.

Enters: nothing; random arms come from a fixed seed. Leaves: fixtures/imbalance_*.csv, and golden numbers on standard
output. The omnibus statistic is that of the randomisation covariance of the means, checked here by drawing
assignments; the bounds trim sorted outcomes, and their errors are numerical derivatives over the multinomial.

    python -m pip install -r requirements.txt && python imbalance.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURES = Path(__file__).parent / "fixtures"


def cell(value):
    return f"{value:.11g}" if isinstance(value, float) else value


def write(name, rows):
    rows = list(rows)
    with (FIXTURES / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: cell(value) for key, value in row.items()})


def flat(values):
    return ";".join(repr(float(x)) for x in np.ravel(values))


def omnibus(units, arms):
    """d' pinv(Cov d) d for all arms' means at once, Cov under drawing the arms without replacement."""
    sizes = np.bincount(arms)
    total, covariance = len(arms), np.cov(units.T, ddof=1).reshape(units.shape[1], -1)
    means = np.concatenate([units[arms == arm].mean(0) - units.mean(0) for arm in range(len(sizes))])
    between = np.diag(1 / sizes) - 1 / total
    whole = np.kron(between, covariance)
    rank = np.linalg.matrix_rank(covariance) * (len(sizes) - 1)
    statistic = means @ np.linalg.pinv(whole, rcond=1e-10, hermitian=True) @ means
    return statistic, rank, stats.chi2.sf(statistic, rank)


def check_by_drawing(generator):
    """Under random assignment the statistic has the chi-square's mean and tail."""
    units = generator.normal(size=(400, 3)) @ generator.normal(size=(3, 3))
    arms = np.repeat([0, 1], [150, 250])
    drawn = [omnibus(units, generator.permutation(arms)) for _ in range(2_000)]
    assert abs(np.mean([statistic for statistic, _, _ in drawn]) - 3) < 0.2
    assert abs(np.mean([p < 0.05 for _, _, p in drawn]) - 0.05) < 0.02


def random_covariates(generator):
    for number in range(60):
        width, arms = int(generator.integers(1, 4)), int(generator.integers(2, 4))
        sizes = generator.integers(20, 40, arms)
        labels = np.repeat(np.arange(arms), sizes)
        units = np.round(generator.normal(size=(len(labels), width)) @ generator.normal(size=(width, width)), 3)
        units += np.round(generator.choice([0, 0.6]), 3) * labels[:, None]
        if number % 5 == 0:
            units = np.c_[units, units[:, 0] * 2]
        statistic, rank, p = omnibus(units, labels)
        control = units[labels == 0]
        differences = [
            (part.mean(0) - control.mean(0)) / np.sqrt((part.var(0, ddof=1) + control.var(0, ddof=1)) / 2)
            for part in (units[labels == arm] for arm in range(1, arms))
        ]
        yield {
            "width": units.shape[1],
            "sizes": ";".join(map(str, sizes)),
            "units": flat(np.round(units, 3)),
            "statistic": statistic,
            "df": rank,
            "p": p,
            "differences": ";".join(f"{x:.11g}" for x in np.array(differences).T.ravel()),
            "first_p": omnibus(units[:, :1], labels)[2],
        }


def tau(table):
    """Goodman and Kruskal's: the share of wrong guesses of the arm that knowing the category saves."""
    shares = table / table.sum()
    rows, columns = shares.sum(1), shares.sum(0)
    wrong = 1 - (columns**2).sum()
    wrong_knowing = 1 - (shares**2 / rows[:, None]).sum()
    return (wrong - wrong_knowing) / wrong


def categories(table):
    result = stats.chi2_contingency(table, correction=False)
    cramer = stats.contingency.association(table, method="cramer", correction=False)
    return float(result.statistic), int(result.dof), float(result.pvalue), float(cramer), float(tau(np.array(table)))


def random_tables(generator):
    for _ in range(80):
        rows, arms = int(generator.integers(2, 8)), int(generator.integers(2, 5))
        table = generator.multinomial(int(generator.choice([600, 5_000, 200_000])), generator.dirichlet([4] * arms), rows)
        table += generator.integers(20, 60, (rows, arms)) * int(generator.choice([1, 3]))
        statistic, dof, p, cramer, explained = categories(table)
        yield {
            "arms": arms,
            "counts": ";".join(map(str, table.ravel())),
            "statistic": statistic,
            "df": dof,
            "p": p,
            "cramer": cramer,
            "explained": explained,
        }


def trimmed(s, f, q_low):
    """Lowest and highest rate left of an arm with shares s and f when all but q_low is trimmed."""
    low = max(0.0, s - max(0.0, s + f - q_low)) / q_low
    high = min(s, q_low) / q_low
    return low, high


def lee(shares):
    """Bounds of treatment − control from (s_C, f_C, s_T, f_T)."""
    s_c, f_c, s_t, f_t = shares
    if s_t + f_t >= s_c + f_c:
        low, high = trimmed(s_t, f_t, s_c + f_c)
        return np.array([low, high]) - s_c / (s_c + f_c)
    low, high = trimmed(s_c, f_c, s_t + f_t)
    return s_t / (s_t + f_t) - np.array([high, low])


def random_deliveries(generator):
    for _ in range(120):
        n = generator.integers(200, 20_000, 2)
        delivered = generator.binomial(n, generator.uniform(0.5, 0.99, 2))
        successes = generator.binomial(delivered, generator.uniform(0.02, 0.95, 2))
        shares = np.array([successes[0], delivered[0] - successes[0], successes[1], delivered[1] - successes[1]], float)
        shares /= np.repeat(n, 2)
        covariance = np.zeros((4, 4))
        for arm in (0, 1):
            own = shares[2 * arm : 2 * arm + 2]
            covariance[2 * arm : 2 * arm + 2, 2 * arm : 2 * arm + 2] = (np.diag(own) - np.outer(own, own)) / n[arm]
        step = 1e-6
        gradient = np.array([(lee(shares + step * e) - lee(shares - step * e)) / (2 * step) for e in np.eye(4)])
        low, high = lee(shares)
        errors = np.sqrt(np.diag(gradient.T @ covariance @ gradient))
        edge = stats.norm.isf(0.025)
        yield {
            "counts": ";".join(map(str, (n[0], delivered[0], successes[0], n[1], delivered[1], successes[1]))),
            "low": float(low),
            "high": float(high),
            "interval_low": float(max(-1, low - edge * errors[0])),
            "interval_high": float(min(1, high + edge * errors[1])),
        }


if __name__ == "__main__":
    print("categories", categories([[120, 90, 40], [110, 95, 45], [60, 80, 100]]))
    check_by_drawing(np.random.default_rng(1))
    write("imbalance_covariates.csv", random_covariates(np.random.default_rng(20_262)))
    write("imbalance_categories.csv", random_tables(np.random.default_rng(20_263)))
    write("imbalance_delivery.csv", random_deliveries(np.random.default_rng(20_264)))
