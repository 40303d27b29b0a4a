"""Time and memory of the report over growing logs: a CSV table, and a plot of it on logarithmic axes."""

import csv
import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

from measure import MIB, OWN, ProcessFailed, generate, median_of, read_through, say
from reports import FROM_ROLLUP, FROM_STORE, Report, agreed, engines, ingest_logs, log_files, require_agreement

COLUMNS = (
    "messages", "engine", "version", "runs", "query_s", "least_s", "greatest_s", "process_s", "processor_s", "peak_mib"
)  # fmt: skip
# Each engine's line differs by its marker and dashes, so that a print in black and white can be read.
STYLES = (("o", "-"), ("s", "-"), ("^", "--"), ("D", "-."), ("v", ":"), ("P", (0, (5, 1, 1, 1, 1, 1))))


@dataclass(frozen=True)
class Options:
    """What the scaling is asked for. `kept` holds logs that stay, a folder for each size by its number of messages."""

    binary: Path
    sizes: list[int]
    runs: int
    threads: int
    with_store: bool
    kept: Path | None


def cells(messages: int, runs: list[Report]) -> dict[str, str | int]:
    """One row of the table: medians of one engine at one size."""
    seconds = [run.task for run in runs]
    return {
        "messages": messages,
        "engine": runs[0].engine,
        "version": runs[0].version,
        "runs": len(runs),
        "query_s": f"{median_of(runs, 'task'):.4f}",
        "least_s": f"{min(seconds):.4f}",
        "greatest_s": f"{max(seconds):.4f}",
        "process_s": f"{median_of(runs, 'wall'):.4f}",
        "processor_s": f"{median_of(runs, 'cpu'):.4f}",
        "peak_mib": f"{median_of(runs, 'memory') / MIB:.1f}",
    }


def logs_of(messages: int, options: Options, scratch: Path) -> Path:
    """Logs of a size: those kept from before, or new ones."""
    folder = (options.kept or scratch) / str(messages)
    if not all(path.is_file() for path in log_files(folder)):
        generate(options.binary, folder, messages, "parquet", scratch)
    return folder


def measure_size(messages: int, options: Options, failed: set[str], scratch: Path) -> list[dict[str, str | int]]:
    """Runs every engine that has not failed before at one size; returns rows of the table.

    An engine that fails, for want of memory say, is left out from there on: the others' lines go on.
    """
    folder = logs_of(messages, options, scratch)
    store = scratch / "store" if options.with_store and FROM_STORE not in failed else None
    if store:
        try:
            ingested = ingest_logs(options.binary, folder, store, scratch)
            say(f"{messages:,} messages: ingest {ingested.wall:.1f} s, {ingested.memory / MIB:,.0f} MiB")
        except ProcessFailed as error:
            say(f"ingest failed at {messages:,} messages: {error}")
            failed.update((FROM_STORE, FROM_ROLLUP))
    read_through(log_files(folder))
    runners = engines(folder, options.threads, scratch, options.binary, store)
    results: dict[str, list[Report]] = {name: [] for name in runners if name not in failed}
    for _ in range(options.runs):
        for name in [name for name in results if name not in failed]:
            try:
                run = runners[name]()
            except ProcessFailed as error:
                say(f"{name} failed at {messages:,} messages: {error}")
                failed.add(name)
                continue
            results[name].append(run)
            say(f"{messages:,} messages: {name} {run.task:.2f} s, {run.memory / MIB:,.0f} MiB")
    complete = [runs for name, runs in results.items() if name not in failed]
    reports = [run for runs in complete for run in runs]
    if reports:
        require_agreement(reports)
        say(agreed(reports))
    if store:
        shutil.rmtree(store, ignore_errors=True)
    if not options.kept:
        shutil.rmtree(folder)
    return [cells(messages, runs) for runs in complete]


def run(options: Options, out: Path, scratch: Path) -> None:
    """Measures all sizes, the smallest first; the table grows with each, so that an interruption loses one size at most."""
    failed: set[str] = set()
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "scaling.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for messages in sorted(set(options.sizes)):
            writer.writerows(measure_size(messages, options, failed, scratch))
            file.flush()
    plot(out / "scaling.csv", out / "scaling.svg")
    say(f"written: {out / 'scaling.csv'} and {out / 'scaling.svg'}")
    if failed:
        raise SystemExit(f"failed at some size, and left out from there on: {', '.join(sorted(failed))}")


def plot(source: Path, target: Path) -> None:
    """Draws a table of scaling as SVG: time and memory by messages, each with a line of slope 1 for comparison."""
    # Imported here: it would count in the memory of every process that this one starts (see `measure`).
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    with open(source, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SystemExit(f"{source} has no rows to draw")
    names = sorted({row["engine"]: None for row in rows}, key=lambda name: not name.startswith(OWN))
    matplotlib.rcParams.update({"svg.hashsalt": "sendlift", "svg.fonttype": "none", "font.size": 10})
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    panels = (("query_s", "time of the report, s"), ("peak_mib", "peak memory, MiB"))
    for axis, (column, label) in zip(axes, panels, strict=True):
        for name, (marker, dashes) in zip(names, itertools.cycle(STYLES), strict=False):
            points = sorted((int(row["messages"]), float(row[column])) for row in rows if row["engine"] == name)
            is_own = name.startswith(OWN)
            axis.plot(
                *zip(*points, strict=True),
                color="black",
                marker=marker,
                linestyle=dashes,
                linewidth=1.8 if is_own else 1.0,
                markersize=5,
                markerfacecolor="black" if is_own else "white",
                label=name,
            )
        axis.set(xscale="log", yscale="log", xlabel="messages, millions", ylabel=label)
        add_slope_of_one(axis, rows, column)
        axis.set_xticks(sorted({int(row["messages"]) for row in rows}))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}"))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(visible=True, color="0.85", linewidth=0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def add_slope_of_one(axis, rows: list[dict[str, str]], column: str) -> None:
    """A grey line along which twice the messages take twice as much; it passes the greatest size's middle engine.

    The engines' lines alone decide what the axis shows.
    """
    sizes = sorted({int(row["messages"]) for row in rows})
    last = sorted(float(row[column]) for row in rows if int(row["messages"]) == sizes[-1])
    anchor = last[len(last) // 2]
    ends = (sizes[0], sizes[-1])
    shown = axis.get_ylim()
    axis.plot(
        ends,
        [anchor * size / sizes[-1] for size in ends],
        color="0.6",
        linewidth=4,
        alpha=0.5,
        zorder=0,
        label="slope 1: proportional",
    )
    axis.set_ylim(shown)
