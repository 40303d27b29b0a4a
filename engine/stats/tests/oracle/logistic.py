"""Ridge regressions of binary and continuous outcomes, by scikit-learn, and by statsmodels where nothing is penalised.

Enters: nothing. Leaves: fixtures/logistic.csv, one fit a line: data column after column (an empty place is a missing value),
the intercept and the coefficients of standardised features, and predictions. Missing values are replaced by the mean and
standardised with it by hand (NumPy); missing indicators stand behind the value of their feature.

    python -m pip install -r requirements.txt && python logistic.py
"""

import csv
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression, Ridge

FIXTURES = Path(__file__).parent / "fixtures"
GENERATOR = np.random.default_rng(20_260)


def text(values):
    return ";".join("" if np.isnan(value) else f"{value:.11g}" for value in values)


def standardised(features, weights):
    """Columns as the models see them, and for each feature whether it has a value and an indicator column."""
    columns, kinds = [], []
    for values in features.T:
        missing = np.isnan(values)
        mean = np.average(values[~missing], weights=weights[~missing]) if (~missing).any() else 0.0
        filled = np.where(missing, mean, values)
        kind = ""
        # Of the values that are there: a mean is off by a rounding.
        varies = {"v": len(set(values[~missing])) > 1, "m": 0 < missing.sum() < len(values)}
        for name, column in (("v", filled), ("m", missing.astype(float))):
            if varies[name]:
                centre = np.average(column, weights=weights)
                columns.append((column - centre) / np.sqrt(np.average((column - centre) ** 2, weights=weights)))
                kind += name
        kinds.append(kind or "-")
    return np.array(columns).T.reshape(len(features), -1), kinds


def fit(kind, design, outcome, weights, penalty):
    if design.shape[1] == 0 or penalty == 0:
        family = sm.families.Binomial() if kind == "logistic" else sm.families.Gaussian()
        exog = np.column_stack([np.ones(len(outcome)), design])
        model = sm.GLM(outcome, exog, family=family, freq_weights=weights).fit(tol=1e-14, maxiter=200)
        return model.params, model.fittedvalues
    if kind == "logistic":
        model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-13, max_iter=500)
        model.fit(design, outcome, sample_weight=weights)
        return np.append(model.intercept_, model.coef_), model.predict_proba(design)[:, 1]
    model = Ridge(alpha=penalty, solver="cholesky").fit(design, outcome, sample_weight=weights)
    return np.append(model.intercept_, model.coef_), model.predict(design)


def case(index):
    kind = "logistic" if index % 3 else "linear"
    rows, columns = int(GENERATOR.integers(25, 60)), int(GENERATOR.integers(1, 5))
    features = GENERATOR.normal(size=(rows, columns)) * 10 ** GENERATOR.uniform(-2, 4, columns)
    # A date in seconds: far from zero for its spread.
    if index % 5 == 1:
        features[:, 0] += 1e6
    if index % 4 == 2:
        features[:, -1] = 3.5
    if index % 2 == 0:
        features[GENERATOR.random((rows, columns)) < 0.15] = np.nan
    features = np.vectorize(lambda value: float(f"{value:.9g}"))(features)
    weights = np.round(GENERATOR.uniform(0.2, 3, rows), 3) if index % 7 in (3, 5) else np.ones(rows)
    signal = np.nan_to_num((features - np.nanmean(features, 0)) / (np.nanstd(features, 0) + 1e-9)).sum(1)
    if kind == "logistic":
        outcome = (GENERATOR.random(rows) < 1 / (1 + np.exp(0.5 - 0.5 * signal))).astype(float)
        if outcome.min() == outcome.max():
            outcome[0] = 1 - outcome[0]
    else:
        outcome = np.round(signal + GENERATOR.normal(size=rows) * 2 + 50, 6)
    # The few without a penalty have one feature and plenty of noise: nothing is separated.
    penalty = 0.0 if columns == 1 and index % 2 else float(GENERATOR.choice([0.01, 0.1, 1, 10, 300]))
    design, kinds = standardised(features, weights)
    coefficients, predictions = fit(kind, design, outcome, weights, penalty)
    return {
        "kind": kind,
        "rows": rows,
        "columns": columns,
        "penalty": penalty,
        "values": text(features.T.ravel()),
        "outcome": text(outcome),
        "weights": "" if np.ptp(weights) == 0 else text(weights),
        "kinds": ";".join(kinds),
        "coefficients": text(coefficients),
        "predictions": text(predictions),
    }


def main():
    lines = [case(index) for index in range(90)]
    with (FIXTURES / "logistic.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
