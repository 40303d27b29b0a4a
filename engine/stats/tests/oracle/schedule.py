"""Propensities within caps, as the convex problem that they solve.

Enters: nothing; random lists come from a fixed seed. Leaves: fixtures/schedule.csv. Floors are found by bisection; the
projection onto the caps by its dual, minimised with SciPy's L-BFGS-B, checked against SLSQP on the shares themselves.

    python -m pip install -r requirements.txt && python schedule.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy import optimize

FIXTURES = Path(__file__).parent / "fixtures"


def floored(chances, legal, floor):
    """max(floor, c · chance) over legal slots, with c such that they add up to one."""
    floor = min(floor, 1 / legal.sum())
    shares = lambda c: np.where(legal, np.maximum(floor, c * chances), 0)
    if shares(0).sum() >= 1 - 1e-15:
        return shares(0)
    return shares(optimize.brentq(lambda c: shares(c).sum() - 1, 0, 1.5 / max(chances.max(), 1e-3), xtol=1e-16))


def projected(sizes, wanted, caps):
    """Shares of least divergence, weighted by the sizes of the groups, with expected loads within the caps."""
    finite = np.isfinite(caps)

    def tilted(multipliers):
        lam = np.zeros(len(caps))
        lam[finite] = multipliers
        raw = wanted * np.exp(-lam)
        return raw, raw / raw.sum(1, keepdims=True)

    def dual(multipliers):
        raw, shares = tilted(multipliers)
        value = sizes @ np.log(raw.sum(1)) + caps[finite] @ multipliers
        return value / sizes.sum(), (caps - sizes @ shares)[finite] / sizes.sum()

    start = np.zeros(finite.sum())
    result = optimize.minimize(
        dual, start, jac=True, bounds=[(0, None)] * len(start), method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-11, "maxiter": 5_000}
    )
    return tilted(result.x)[1]


def check_directly(sizes, wanted, caps, shares):
    """The same by SLSQP on the shares."""
    support = wanted > 0
    def divergence(x):
        p = fill(support, x)
        return (sizes[:, None] * np.where(support, p * np.log(np.maximum(p, 1e-15) / np.where(support, wanted, 1)), 0)).sum() / sizes.sum()

    rules = [{"type": "eq", "fun": lambda x: fill(support, x).sum(1) - 1}]
    finite = np.isfinite(caps)
    rules.append({"type": "ineq", "fun": lambda x: ((caps - sizes @ fill(support, x)) / sizes.sum())[finite]})
    best = optimize.minimize(
        divergence, wanted[support], bounds=[(1e-9, 1)] * support.sum(), constraints=rules, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500}
    )
    assert np.abs(fill(support, best.x) - shares).max() < 2e-3, np.abs(fill(support, best.x) - shares).max()


def fill(support, x):
    full = np.zeros(support.shape)
    full[support] = x
    return full


def random_lists(generator):
    number = 0
    while number < 60:
        classes, slots = int(generator.integers(1, 5)), int(generator.integers(2, 7))
        sizes = generator.integers(50, 5_000, classes)
        legal = generator.random((classes, slots)) < 0.8
        if not legal.any(1).all():
            continue
        wins = np.array([generator.multinomial(100, generator.dirichlet([0.6] * slots)) for _ in range(classes)])
        floor, uniform = float(generator.choice([0, 0.02, 0.1])), float(generator.choice([0.05, 0.1, 0.5]))
        caps = np.where(generator.random(slots) < 0.6, np.round(sizes.sum() * generator.uniform(0.2, 1.2, slots) * 2 / slots), np.inf)
        # The segment's draws are one-hot: the best of the legal is the winner if legal, else all legal are equal.
        chances = np.array([np.where(ok, w + w[~ok].sum() / ok.sum(), 0) / 100 for w, ok in zip(wins, legal)])
        thompson = np.array([floored(c, ok, floor) for c, ok in zip(chances, legal)])
        spread = legal / legal.sum(1, keepdims=True)
        groups = np.concatenate([sizes * (1 - uniform), sizes * uniform])
        wanted = np.concatenate([thompson, spread])
        # A list that the slots can carry, with some room.
        room = optimize.linprog(
            np.r_[np.zeros(classes * slots), 1.0],
            A_ub=np.c_[np.tile(np.eye(slots), classes) * np.repeat(sizes, slots), -np.ones(slots) * sizes.sum()][np.isfinite(caps)],
            b_ub=caps[np.isfinite(caps)] * 0.97,
            A_eq=np.c_[np.kron(np.eye(classes), np.ones(slots)), np.zeros(classes)],
            b_eq=np.ones(classes),
            bounds=[(0, 1 if ok else 0) for ok in legal.ravel()] + [(0, None)],
        )
        # A slot wanted by nobody cannot be used by the tilt either.
        if not np.isfinite(caps).any() or room.fun > 1e-9 or (floor == 0 and (wanted == 0).any()):
            continue
        shares = projected(groups, wanted, caps)
        if number < 10:
            check_directly(groups, wanted, caps, shares)
        propensities = (1 - uniform) * shares[:classes] + uniform * shares[classes:]
        number += 1
        yield {
            "sizes": ";".join(map(str, sizes)),
            "legal": ";".join(str(int(x)) for x in legal.ravel()),
            "wins": ";".join(map(str, wins.ravel())),
            "floor": floor,
            "uniform": uniform,
            "caps": ";".join("" if np.isinf(cap) else str(cap) for cap in caps),
            "chances": ";".join(f"{x:.11g}" for x in chances.ravel()),
            "propensities": ";".join(f"{x:.11g}" for x in propensities.ravel()),
        }


if __name__ == "__main__":
    rows = list(random_lists(np.random.default_rng(20_267)))
    with (FIXTURES / "schedule.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
