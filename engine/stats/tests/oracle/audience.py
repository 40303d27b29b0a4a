"""Audiences as linear and integer programmes, and the worth of a policy as a regression on a constant.

Enters: nothing. Leaves: fixtures/audience_units.csv (made-up units with profit, cost, doubly robust score and choice of a policy)
and fixtures/audience.csv (a line a case: the linear programme's profit and prices, the best profit of whole units, the worth of the
policy with errors). Programmes by HiGHS through scipy.optimize, the worth by statsmodels.

    python -m pip install -r requirements.txt && python audience.py
"""

import csv
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

FIXTURES = Path(__file__).parent / "fixtures"


def programmes(profit, cost, budget, cap):
    """Profit and prices of the linear programme, without units that the whole budget does not pay for, and of whole units."""
    rows, limits = [], []
    if budget is not None:
        rows.append(cost), limits.append(budget)
    if cap is not None:
        rows.append(np.ones(len(cost))), limits.append(cap)
    most = np.where(cost <= budget, 1.0, 0.0) if budget is not None else np.ones(len(cost))
    linear = linprog(-profit, A_ub=rows or None, b_ub=limits or None, bounds=list(zip(np.zeros(len(cost)), most)))
    assert linear.status == 0
    constraints = [LinearConstraint(row, ub=limit) for row, limit in zip(rows, limits)]
    whole = milp(-profit, integrality=np.ones(len(cost)), bounds=Bounds(0, most), constraints=constraints, options={"mip_rel_gap": 0})
    assert whole.status == 0
    # Prices are of one value only where the solution lies between whole units.
    fractions = (abs(linear.x - linear.x.round()) > 1e-9).sum()
    prices = -linear.ineqlin.marginals if rows and fractions else []
    names = [name for name, limit in (("budget_price", budget), ("unit_price", cap)) if limit is not None]
    return {"linear": -linear.fun, "whole": -whole.fun} | dict(zip(names, prices))


def mean(values):
    fitted = sm.OLS(values, np.ones(len(values))).fit()
    return float(fitted.params[0]), float(fitted.bse[0])


def worth(score, chosen, margin, cost):
    profit = margin * score - cost
    result = {"margin": margin}
    for name, values in {
        "per_unit": np.where(chosen, profit, 0.0),
        "per_message": profit[chosen],
        "against": np.where(chosen, 0.0, -profit),
    }.items():
        result[name], result[f"{name}_error"] = mean(values)
    return result


def text(value):
    return value if isinstance(value, str) else f"{value:.11g}"


if __name__ == "__main__":
    generator = np.random.default_rng(20_281)
    unit_lines, lines = [], []
    for number in range(60):
        n = int(generator.integers(6, 60))
        profit = (generator.normal(0.3, 1, n) * 10 ** float(generator.integers(-2, 4))).round(6)
        # Costs of their own, of three channels, all the same, or none for some.
        cost = [generator.random(n), generator.choice([0.01, 0.05, 0.1], n), np.full(n, 0.05), generator.choice([0, 0.3], n)][number % 4].round(6)
        budget = float(np.round(cost.sum() * generator.random() * 0.7, 6)) if number % 5 else None
        cap = int(generator.integers(1, n)) if number % 3 else None
        score = generator.normal(0.1, 2, n).round(6)
        chosen = generator.random(n) < 0.5
        chosen[:3] = True, True, False
        case = {"case": str(number), "budget": "" if budget is None else budget, "cap": "" if cap is None else cap}
        case |= {"linear": "", "whole": "", "budget_price": "", "unit_price": ""}
        lines.append(case | programmes(profit, cost, budget, cap) | worth(score, chosen, float(generator.integers(1, 40)), cost))
        columns = zip(profit, cost, score, chosen.astype(int))
        unit_lines += [{"case": str(number)} | dict(zip(("profit", "cost", "score", "chosen"), row)) for row in columns]
    for name, table in (("audience_units.csv", unit_lines), ("audience.csv", lines)):
        with (FIXTURES / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: text(value) for key, value in line.items()} for line in table)
