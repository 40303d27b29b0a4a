"""tea-tasting and gbstats on a table of units; also the script that their processes run, and what makes the table.

    experiment_peers.py make FILE --units N                     a Parquet table with one row a unit
    experiment_peers.py analyze PEER FILE --threads N           the analysis by one peer

The last line of an analysis's output is a JSON object: the `versions` of the library and of the engine under it, the
`seconds` without the start of Python and the imports, and `rows`: metric, part (`overall`, `CUPED` or the segment), difference,
the two ends of its 95 % interval, p value.

Both peers compute from aggregates, so that each reads the file once and groups it by arm and segment; the whole is the sum of
the segments. That is the least work with which either can answer all that is asked.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CONTROL, TREATMENT = "A", "B"
SEGMENTS = 50
OVERALL, CUPED = "overall", "CUPED"
# Versions, seconds of the task alone, rows.
Answer = tuple[str, float, list[Any]]

# The columns that gbstats wants sums of: of each, and of each product.
SUMS = ("conversion", "revenue", "orders", "sessions", "before")
PRODUCTS = (
    ("conversion", "conversion"),
    ("revenue", "revenue"),
    ("orders", "orders"),
    ("sessions", "sessions"),
    ("before", "before"),
    ("conversion", "before"),
    ("revenue", "before"),
    ("orders", "sessions"),
)


def make_units(target: Path, units: int) -> None:
    """Writes a table of units by arithmetic on hashes of their number: the same on any number of threads.

    Half of the units are in either arm. What a unit spent before tells something of its conversion, its revenue and its
    orders. The effects shrink with the size, to about two standard errors, so that p values are neither 0 nor 1.
    """
    import duckdb

    effect = 8 / math.sqrt(units)
    uniform = [f"((hash(i * 16 + {place}) >> 11) + 0.5) / {2**53}" for place in range(10)]
    duckdb.execute(
        f"""
        COPY (
            WITH drawn AS (
                SELECT i, {", ".join(f"{draw} AS u{place}" for place, draw in enumerate(uniform))}
                FROM range({units}) AS numbers(i)
            ), known AS (
                SELECT *, CASE WHEN u0 < 0.5 THEN '{CONTROL}' ELSE '{TREATMENT}' END AS arm,
                    CASE WHEN u0 < 0.5 THEN 0 ELSE {effect!r} END AS effect,
                    sqrt(-2 * ln(u2)) * cos(2 * pi() * u3) AS taste,
                    1 + least(floor(-2 * ln(u4)), 30) AS sessions
                FROM drawn
            ), bought AS (
                SELECT *, CASE WHEN u5 < (0.2 + 0.07 * least(greatest(taste, -2), 2)) * (1 + 2 * effect) THEN 1 ELSE 0 END
                    AS conversion
                FROM known
            )
            SELECT 'r' || lpad(i::VARCHAR, 9, '0') AS recipient, arm,
                'segment ' || lpad(floor({SEGMENTS} * u1)::INTEGER::VARCHAR, 2, '0') AS segment,
                CASE WHEN u6 < 0.2 THEN 0 ELSE round(exp(3 + 0.7 * taste), 2) END AS before,
                conversion::INTEGER AS conversion,
                round(conversion * exp(3 + 0.7 * taste + 0.3 * sqrt(-2 * ln(u7)) * cos(2 * pi() * u8)), 2) AS revenue,
                (conversion + floor(sessions * (0.2 + 0.2 * u9 + 0.03 * taste + 0.2 * effect)))::INTEGER AS orders,
                sessions::INTEGER AS sessions
            FROM bought
        ) TO '{str(target).replace("'", "''")}' (FORMAT parquet)
        """
    )


def of_mean(result: Any) -> tuple[float, float, float, float]:
    """Difference, interval and p value of one of tea-tasting's results."""
    return result.effect_size, result.effect_size_ci_lower, result.effect_size_ci_upper, result.pvalue


def tea_tasting_rows(cells: Any, tea: Any) -> Iterator[tuple[Any, ...]]:
    """All that is asked, from one pass over a table with a column `cell` of arm and segment."""
    from tea_tasting.aggr import read_aggregates

    plain = tea.Experiment(
        conversion=tea.Proportion("conversion", method="norm", correction=False, equal_var=True),
        revenue=tea.Mean("revenue"),
        orders=tea.RatioOfMeans("orders", "sessions"),
    )
    adjusted = tea.Experiment(
        conversion=tea.Mean("conversion", "before"),
        revenue=tea.Mean("revenue", "before"),
        orders=tea.RatioOfMeans("orders", "sessions", "before"),
    )
    pairs = (PRODUCTS[5], PRODUCTS[6], PRODUCTS[7], ("before", "orders"), ("before", "sessions"))
    found = read_aggregates(cells, "cell", has_count=True, mean_cols=SUMS, var_cols=SUMS, cov_cols=pairs)
    segments: dict[str, dict[object, Any]] = {}
    whole: dict[object, Any] = {}
    for cell, aggregates in found.items():
        arm, segment = str(cell).split("|")
        segments.setdefault(segment, {})[arm] = aggregates
        whole[arm] = whole[arm] + aggregates if arm in whole else aggregates
    for part, arms in [(OVERALL, whole), *segments.items()]:
        for metric, result in plain.analyze(arms, CONTROL).items():
            yield metric, part, *of_mean(result)
    for metric, result in adjusted.analyze(whole, CONTROL).items():
        yield metric, CUPED, *of_mean(result)


def tea_tasting_duckdb(source: Path, threads: int) -> Answer:
    """tea-tasting, aggregating by DuckDB through Ibis."""
    import duckdb
    import ibis
    import tea_tasting as tea

    backend = ibis.duckdb  # Its first mention imports it.
    start = time.perf_counter()
    connection = backend.connect(threads=threads)
    units = connection.read_parquet(source)
    rows = list(tea_tasting_rows(units.mutate(cell=units.arm + "|" + units.segment), tea))
    return f"{tea.__version__}, DuckDB {duckdb.__version__}", time.perf_counter() - start, rows


def tea_tasting_polars(source: Path, threads: int) -> Answer:
    """tea-tasting, aggregating by Polars, lazily."""
    # Polars reads the size of its thread pool when it is imported.
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl
    import tea_tasting as tea

    start = time.perf_counter()
    units = pl.scan_parquet(source).with_columns(cell=pl.concat_str("arm", "segment", separator="|"))
    rows = list(tea_tasting_rows(units, tea))
    return f"{tea.__version__}, Polars {pl.__version__}", time.perf_counter() - start, rows


def gbstats_rows(cells: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """All that is asked, from the sums of each arm and segment. gbstats adjusts no ratios."""
    from gbstats.frequentist.tests import FrequentistConfig, TwoSidedTTest
    from gbstats.models.statistics import (
        ProportionStatistic,
        RatioStatistic,
        RegressionAdjustedStatistic,
        SampleMeanStatistic,
    )

    absolute = FrequentistConfig(difference_type="absolute")

    def mean(sums: dict[str, float], column: str) -> SampleMeanStatistic:
        return SampleMeanStatistic(n=int(sums["n"]), sum=sums[column], sum_squares=sums[f"{column} {column}"])

    def share(sums: dict[str, float]) -> ProportionStatistic:
        return ProportionStatistic(n=int(sums["n"]), sum=sums["conversion"])

    def ratio(sums: dict[str, float]) -> RatioStatistic:
        of, by = mean(sums, "orders"), mean(sums, "sessions")
        return RatioStatistic(n=int(sums["n"]), m_statistic=of, d_statistic=by, m_d_sum_of_products=sums["orders sessions"])

    def adjusted(sums: dict[str, float], column: str) -> RegressionAdjustedStatistic:
        post = share(sums) if column == "conversion" else mean(sums, column)
        products = sums[f"{column} before"]
        return RegressionAdjustedStatistic(
            n=int(sums["n"]),
            post_statistic=post,
            pre_statistic=mean(sums, "before"),
            post_pre_sum_of_products=products,
            theta=0,
        )

    def compared(metric: str, part: str, control: Any, treatment: Any) -> tuple[Any, ...]:
        result = TwoSidedTTest(control, treatment, absolute).compute_result()
        return metric, part, result.expected, *result.ci, result.p_value

    segments: dict[str, dict[str, dict[str, float]]] = {}
    whole: dict[str, dict[str, float]] = {}
    for cell in cells:
        arm, segment = cell.pop("arm"), cell.pop("segment")
        segments.setdefault(segment, {})[arm] = cell
        so_far = whole.setdefault(arm, dict.fromkeys(cell, 0))
        for name, value in cell.items():
            so_far[name] += value
    for part, arms in [(OVERALL, whole), *segments.items()]:
        control, treatment = arms[CONTROL], arms[TREATMENT]
        yield compared("conversion", part, share(control), share(treatment))
        yield compared("revenue", part, mean(control, "revenue"), mean(treatment, "revenue"))
        yield compared("orders", part, ratio(control), ratio(treatment))
    for metric in ("conversion", "revenue"):
        yield compared(metric, CUPED, adjusted(whole[CONTROL], metric), adjusted(whole[TREATMENT], metric))


def gbstats_duckdb(source: Path, threads: int) -> Answer:
    """gbstats, from sums by DuckDB."""
    import duckdb
    import gbstats
    import gbstats.frequentist.tests

    start = time.perf_counter()
    sums = [f'sum({column}::DOUBLE) AS "{column}"' for column in SUMS]
    sums += [f'sum({left}::DOUBLE * {right}) AS "{left} {right}"' for left, right in PRODUCTS]
    connection = duckdb.connect(config={"threads": threads})
    query = f"SELECT arm, segment, count(*) AS n, {', '.join(sums)} FROM read_parquet(?) GROUP BY arm, segment"
    answer = connection.execute(query, [str(source)])
    names = [column[0] for column in answer.description]
    rows = list(gbstats_rows([dict(zip(names, row, strict=True)) for row in answer.fetchall()]))
    return f"{gbstats.__version__}, DuckDB {duckdb.__version__}", time.perf_counter() - start, rows


def gbstats_polars(source: Path, threads: int) -> Answer:
    """gbstats, from sums by Polars, streaming."""
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import gbstats
    import gbstats.frequentist.tests
    import polars as pl

    start = time.perf_counter()
    number = {column: pl.col(column).cast(pl.Float64) for column in SUMS}
    sums = [number[column].sum().alias(column) for column in SUMS]
    sums += [(number[left] * number[right]).sum().alias(f"{left} {right}") for left, right in PRODUCTS]
    cells = pl.scan_parquet(source).group_by("arm", "segment").agg(pl.len().alias("n"), *sums)
    rows = list(gbstats_rows(cells.collect(engine="streaming").to_dicts()))
    return f"{gbstats.__version__}, Polars {pl.__version__}", time.perf_counter() - start, rows


ANALYSES: dict[str, Callable[[Path, int], Answer]] = {
    "tea-tasting (DuckDB)": tea_tasting_duckdb,
    "tea-tasting (Polars)": tea_tasting_polars,
    "gbstats (DuckDB)": gbstats_duckdb,
    "gbstats (Polars)": gbstats_polars,
}


def main() -> None:
    """The body of a process."""
    parser = argparse.ArgumentParser(description="One task of one peer; compare.py runs this.")
    tasks = parser.add_subparsers(dest="task", required=True)
    make = tasks.add_parser("make")
    make.add_argument("target", type=Path)
    make.add_argument("--units", type=int, required=True)
    analyze = tasks.add_parser("analyze")
    analyze.add_argument("peer", choices=ANALYSES)
    analyze.add_argument("source", type=Path)
    analyze.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.task == "make":
        make_units(arguments.target, arguments.units)
        return
    versions, seconds, rows = ANALYSES[arguments.peer](arguments.source, arguments.threads)
    rows = [[metric, part, *(float(number) for number in numbers)] for metric, part, *numbers in rows]
    print(json.dumps({"versions": versions, "seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
