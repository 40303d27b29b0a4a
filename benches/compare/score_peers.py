"""The peers' part of the comparisons of scores; also the script that their processes run.

    score_peers.py split FILE TRAIN TEST [--seed N] [--only COLUMN=VALUE,VALUE]   a table of units in two random halves
    score_peers.py make FILE --units N --seed N                                  a table of simulated units
    score_peers.py uplift PEER TRAIN TEST OUT ROLES --threads N                  what a message adds, by one peer
    score_peers.py propensity PEER TRAIN TEST OUT ROLES --threads N              the probability of an outcome, by one peer

`ROLES` is a JSON object: `unit`, `target`, `exclude` and, for uplift, `arm`, `control`. Tables are Parquet. Every other column is a
feature; a text becomes a column of zeros and ones for each value. The last line of the output is a JSON object: the `version`, the
`seconds` of fitting and of scoring, without the start of Python, the imports and the reading of files.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Trees that stop when a tenth of the units, every tenth, no longer gains: sendlift's way.
STOPPING = 10
ROUNDS = 20


class Units:
    """A table of units: features as numbers, the outcome and the arm."""

    def __init__(self, path: Path, roles: dict[str, Any], like: "Units | None" = None):
        import polars as pl

        table = pl.read_parquet(path)
        used = [roles["unit"], roles["target"], *roles["exclude"], *([roles["arm"]] if "arm" in roles else [])]
        features = table.drop(used)
        texts = [name for name, kind in features.schema.items() if kind == pl.String]
        features = features.with_columns(pl.exclude(texts).cast(pl.Float64)) if len(texts) < features.width else features
        features = features.to_dummies(texts) if texts else features
        if like:
            missing = [pl.lit(0).cast(pl.UInt8).alias(name) for name in like.names if name not in features.columns]
            features = features.with_columns(missing).select(like.names)
        self.names = features.columns
        # A copy, so that rows lie one after another.
        self.features = features.to_numpy().astype("float64", order="C")
        self.outcome = table[roles["target"]].cast(pl.Float64).to_numpy() if roles["target"] in table.columns else None
        self.treated = (table[roles["arm"]] != roles["control"]).to_numpy().astype(int) if "arm" in roles else None
        self.ids = table[roles["unit"]]


# Seconds of fitting and of scoring, scores of the units to judge by.
Scored = tuple[float, float, Any]


def timed(fit: Callable[[], Any], score: Callable[[Any], Any]) -> Scored:
    """Fits, scores and measures both."""
    start = time.perf_counter()
    model = fit()
    fitted = time.perf_counter()
    scores = score(model)
    return fitted - start, time.perf_counter() - fitted, scores


def lightgbm_early(train: Units, test: Units, threads: int) -> Scored:
    """At most 300 trees of depth 5, rate 0.1, 255 bins, stopped early: sendlift's own settings."""
    import lightgbm as lgb
    import numpy as np

    def fit() -> Any:
        stop = np.arange(len(train.outcome)) % STOPPING == STOPPING - 1
        model = lgb.LGBMClassifier(
            n_estimators=300, max_depth=5, num_leaves=31, learning_rate=0.1, max_bin=255, n_jobs=threads, verbose=-1
        )
        return model.fit(
            train.features[~stop],
            train.outcome[~stop],
            eval_set=[(train.features[stop], train.outcome[stop])],
            eval_metric="logloss",
            callbacks=[lgb.early_stopping(ROUNDS, verbose=False)],
        )

    return timed(fit, lambda model: model.predict_proba(test.features, num_threads=threads)[:, 1])


def lightgbm_defaults(train: Units, test: Units, threads: int) -> Scored:
    """LightGBM as it comes: 100 trees of 31 leaves."""
    import lightgbm as lgb

    return timed(
        lambda: lgb.LGBMClassifier(n_jobs=threads, verbose=-1).fit(train.features, train.outcome),
        lambda model: model.predict_proba(test.features, num_threads=threads)[:, 1],
    )


def logistic(train: Units, test: Units, threads: int) -> Scored:
    """scikit-learn's logistic regression on standardised features, missing ones at the mean."""
    return timed(
        lambda: linear_pipeline(classifies=True).fit(train.features, train.outcome),
        lambda model: model.predict_proba(test.features)[:, 1],
    )


def linear_pipeline(classifies: bool) -> Any:
    """A regression on standardised features, with the library's own penalty."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(max_iter=1_000) if classifies else Ridge()
    return make_pipeline(SimpleImputer(), StandardScaler(), model)


PROPENSITY: dict[str, Callable[[Units, Units, int], Scored]] = {
    "LightGBM, stopped early": lightgbm_early,
    "LightGBM, defaults": lightgbm_defaults,
    "scikit-learn, logistic": logistic,
}


def outcome_model(kind: str, threads: int) -> Any:
    """What learns a probability."""
    import lightgbm as lgb

    if kind == "linear":
        return linear_pipeline(classifies=True)
    small = {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.05, "min_child_samples": 200}
    return lgb.LGBMClassifier(n_jobs=threads, verbose=-1, random_state=1, **(small if kind == "small trees" else {}))


def effect_model(kind: str, threads: int) -> Any:
    """What learns a number."""
    import lightgbm as lgb

    if kind == "linear":
        return linear_pipeline(classifies=False)
    small = {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.05, "min_child_samples": 200}
    return lgb.LGBMRegressor(n_jobs=threads, verbose=-1, random_state=1, **(small if kind == "small trees" else {}))


def causalml(method: str, kind: str) -> Callable[[Units, Units, int], Scored]:
    """A learner of causalml, which is told the probability of treatment: the share treated."""

    def run(train: Units, test: Units, threads: int) -> Scored:
        import numpy as np
        from causalml.inference.meta import BaseDRLearner, BaseTClassifier, BaseXClassifier

        share = np.full(len(train.outcome), train.treated.mean())
        at_test = np.full(len(test.features), train.treated.mean())

        def fit() -> Any:
            outcome, effect = outcome_model(kind, threads), effect_model(kind, threads)
            if method == "T":
                model = BaseTClassifier(learner=outcome, control_name=0)
                model.fit(X=train.features, treatment=train.treated, y=train.outcome)
            elif method == "X":
                model = BaseXClassifier(outcome_learner=outcome, effect_learner=effect, control_name=0)
                model.fit(X=train.features, treatment=train.treated, y=train.outcome, p=share)
            else:
                # Its outcome models predict with `predict`, so that they are regressions of the outcome.
                model = BaseDRLearner(learner=effect, control_name=0)
                model.fit(X=train.features, treatment=train.treated, y=train.outcome, p=share, seed=1)
            return model

        def score(model: Any) -> Any:
            known = {"p": at_test} if method == "X" else {}
            return model.predict(X=test.features, **known)[:, 0]

        return timed(fit, score)

    return run


def transformed_class(train: Units, test: Units, threads: int) -> Scored:
    """scikit-uplift's class transformation, for arms of one size."""
    import pandas as pd
    from sklift.models import ClassTransformation

    def fit() -> Any:
        model = ClassTransformation(outcome_model("small trees", threads))
        return model.fit(pd.DataFrame(train.features), pd.Series(train.outcome), pd.Series(train.treated))

    return timed(fit, lambda model: model.predict(pd.DataFrame(test.features)))


def two_models(train: Units, test: Units, threads: int) -> Scored:
    """scikit-uplift's two models, the second of which knows the first one's answer."""
    import pandas as pd
    from sklift.models import TwoModels

    def fit() -> Any:
        of_treated, of_control = outcome_model("small trees", threads), outcome_model("small trees", threads)
        model = TwoModels(of_treated, of_control, method="ddr_control")
        return model.fit(pd.DataFrame(train.features), pd.Series(train.outcome), pd.Series(train.treated))

    return timed(fit, lambda model: model.predict(pd.DataFrame(test.features)))


UPLIFT: dict[str, Callable[[Units, Units, int], Scored]] = {
    **{
        f"causalml {method}, {kind}": causalml(method, kind)
        for method in ("T", "X", "DR")
        for kind in ("default trees", "small trees", "linear")
    },
    "scikit-uplift, transformed class": transformed_class,
    "scikit-uplift, two models": two_models,
}


def version_of(peer: str) -> str:
    """The version of the library that a peer is of."""
    from importlib.metadata import version

    library = peer.split(",")[0].split(" ")[0]
    return version(library.lower())


def make(path: Path, units: int, seed: int) -> None:
    """A Parquet table of units with 25 features and an outcome that one in twelve has or so.

    The features are what those of recipients are: counts, days since something, with many missing, amounts, shares. The outcome
    follows from them by steps, products and curves, as well as in straight lines, and mostly from chance.
    """
    import numpy as np
    import polars as pl

    draws = np.random.default_rng(seed)
    taste = draws.standard_normal(units)
    columns = {}
    for place in range(8):
        columns[f"count_{place}"] = draws.poisson(np.exp(0.3 * place - 1 + 0.4 * taste)).astype(float)
    for place in range(6):
        days = draws.exponential(30 * np.exp(-0.3 * taste))
        days[draws.random(units) < 0.15 * place] = np.nan
        columns[f"days_{place}"] = days
    for place in range(6):
        columns[f"amount_{place}"] = np.where(draws.random(units) < 0.6, 0.0, np.exp(3 + taste + draws.standard_normal(units)))
    for place in range(5):
        columns[f"share_{place}"] = draws.beta(1, 5, units)
    recent = np.exp(-np.nan_to_num(columns["days_1"], nan=1e3) / 20)
    log_odds = (
        -3.4
        + 0.5 * np.log1p(columns["count_3"])
        + 0.8 * recent
        + 0.6 * (columns["amount_0"] > 25)
        + 0.5 * (columns["count_1"] > 1) * (columns["share_0"] < 0.1)
        - 0.6 * np.isnan(columns["days_4"])
        + 2.0 * columns["share_2"]
        - 1.5 * columns["share_3"] * columns["count_5"] / 3
    )
    outcome = draws.random(units) < 1 / (1 + np.exp(-log_odds))
    ids = pl.Series("unit", np.arange(units)).cast(pl.String)
    pl.DataFrame({"unit": ids, **columns, "outcome": outcome.astype("int64")}).with_columns(
        pl.col(pl.Float64).fill_nan(None)
    ).write_parquet(path)


def split(source: Path, train: Path, test: Path, seed: int, only: str | None) -> None:
    """Shuffles a table of units and cuts it in the middle."""
    import numpy as np
    import polars as pl

    table = pl.read_parquet(source) if source.suffix == ".parquet" else pl.read_csv(source)
    if only:
        column, _, values = only.partition("=")
        table = table.filter(pl.col(column).is_in(values.split(",")))
    order = np.random.default_rng(seed).permutation(len(table))
    middle = len(table) // 2
    table[order[:middle]].write_parquet(train)
    table[order[middle:]].write_parquet(test)


def main() -> None:
    """The body of a process."""
    parser = argparse.ArgumentParser(description="One task of one peer; compare.py runs this.")
    tasks = parser.add_subparsers(dest="task", required=True)
    splitting = tasks.add_parser("split")
    for name in ("source", "train", "test"):
        splitting.add_argument(name, type=Path)
    splitting.add_argument("--seed", type=int, default=1)
    splitting.add_argument("--only")
    making = tasks.add_parser("make")
    making.add_argument("target", type=Path)
    making.add_argument("--units", type=int, required=True)
    making.add_argument("--seed", type=int, required=True)
    for task, peers in (("uplift", UPLIFT), ("propensity", PROPENSITY)):
        scoring = tasks.add_parser(task)
        scoring.add_argument("peer", choices=peers)
        for name in ("train", "test", "out"):
            scoring.add_argument(name, type=Path)
        scoring.add_argument("roles", type=json.loads)
        scoring.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.task == "split":
        split(arguments.source, arguments.train, arguments.test, arguments.seed, arguments.only)
        return
    if arguments.task == "make":
        make(arguments.target, arguments.units, arguments.seed)
        return
    # Read by the libraries when they are imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(arguments.threads)
    warnings.simplefilter("ignore")
    import polars as pl

    train = Units(arguments.train, arguments.roles)
    test = Units(arguments.test, arguments.roles, like=train)
    peers = UPLIFT if arguments.task == "uplift" else PROPENSITY
    fitting, scoring_seconds, scores = peers[arguments.peer](train, test, arguments.threads)
    pl.DataFrame({arguments.roles["unit"]: test.ids, "score": scores}).write_parquet(arguments.out)
    print(json.dumps({"version": version_of(arguments.peer), "fit": fitting, "score": scoring_seconds}))


if __name__ == "__main__":
    main()
