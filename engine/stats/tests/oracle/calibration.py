"""Calibration of scores by scikit-learn's isotonic regression, and by SciPy's minimiser with Platt's targets.

Enters: nothing. Leaves: fixtures/calibration.csv, one fit a line, applied to the scores themselves. Isotonic: scikit-learn gives each
unit the share of its block; block centres and the interpolation between them are NumPy's.

    python -m pip install -r requirements.txt && python calibration.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy.optimize import minimize, root
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

FIXTURES = Path(__file__).parent / "fixtures"
GENERATOR = np.random.default_rng(1_999)


def text(values):
    return ";".join(f"{value:.11g}" for value in values)


def isotonic(scores, outcomes, weights):
    shares = IsotonicRegression().fit(scores, outcomes, sample_weight=weights).predict(scores)
    # Shares of different blocks differ by far more than a rounding.
    levels = np.unique(np.round(shares, 10))
    blocks = [np.isclose(shares, level, rtol=0, atol=1e-9) for level in levels]
    centres = [np.average(scores[block], weights=weights[block]) for block in blocks]
    least = 0.5 / (weights.sum() + 1)
    heights = np.clip([np.average(outcomes[block], weights=weights[block]) for block in blocks], least, 1 - least)
    return np.interp(scores, centres, heights)


def platt(scores, outcomes, weights):
    with_outcome, without = weights[outcomes == 1].sum(), weights[outcomes == 0].sum()
    targets = np.where(outcomes == 1, (with_outcome + 1) / (with_outcome + 2), 1 / (without + 2))
    design = np.column_stack([np.ones(len(scores)), logit(scores)])
    slopes = lambda line: design.T @ (weights * (targets - expit(design @ line)))
    curvature = lambda line: -design.T @ (design * (weights * expit(design @ line) * expit(-design @ line))[:, None])
    loss = lambda line: weights @ (np.logaddexp(0, design @ line) - targets * (design @ line))
    near = minimize(loss, [0, 1], jac=lambda line: -slopes(line), method="BFGS").x
    best = root(slopes, near, jac=curvature, tol=1e-14).x
    return best, expit(design @ best)


def case(index):
    units = int(GENERATOR.integers(10, 120))
    truth = GENERATOR.normal(-0.5, 1.5, units)
    outcomes = (GENERATOR.random(units) < expit(truth)).astype(float)
    outcomes[:2] = [0, 1]
    scores = expit(truth * GENERATOR.uniform(-0.3, 3) + GENERATOR.normal(0, 0.5, units))
    scores = np.clip(np.round(scores, 2 if index % 3 == 1 else 7), 1e-7, 1 - 1e-7)
    weights = np.round(GENERATOR.uniform(0.1, 4, units), 2) if index % 4 == 2 else np.ones(units)
    line, probabilities = platt(scores, outcomes, weights)
    return {
        "scores": text(scores),
        "outcomes": text(outcomes),
        "weights": text(weights) if index % 4 == 2 else "",
        "isotonic": text(isotonic(scores, outcomes, weights)),
        "intercept": f"{line[0]:.11g}",
        "slope": f"{line[1]:.11g}",
        "platt": text(probabilities),
    }


def main():
    lines = [case(index) for index in range(60)]
    with (FIXTURES / "calibration.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
