"""sendlift beside its peers: `compare.py MODE --help` tells the options, README.md how to read the results.

    report       time and memory of the campaign report over logs that are there
    agree        whether all engines count the same over generated logs; no times
    ingest       CSV and NDJSON into a store beside plain conversions to Parquet
    scale        the report over growing logs: a table and a plot
    plot         the plot again from a table of `scale`
    experiments  an A/B test over a table of units beside tea-tasting and gbstats
    features     the features of recipients beside an independent computation, and with the future cut off; no times
    score        features, training and scoring beside DuckDB and Polars, LightGBM and scikit-learn
    windows      send windows beside the naive table of clicks by hour of Polars and DuckDB
    hillstrom    scores of a real campaign beside causalml, scikit-uplift, LightGBM and scikit-learn; no times to speak of

Every engine runs in a process of its own, on the same CPUs; engines take turns, so that a slow minute of the machine does
not fall on one of them. Exit status: 0 done; 1 the engines disagree or one of them failed; 2 wrong usage.
"""

import argparse
import os
import signal
import subprocess
from pathlib import Path

import experiments
import features
import hillstrom
import ingestion
import reports
import scaling
import score
import windows
from measure import (
    MIB,
    ProcessFailed,
    describe_machine,
    generate,
    limit_cpus,
    read_through,
    say,
    scratch_folder,
    table,
    usable_cpus,
)

MILLION = 1_000_000


def report(arguments: argparse.Namespace, scratch: Path) -> None:
    """Runs the report in every engine several times, checks that they agree, prints the table."""
    store = None
    if arguments.with_store:
        store = scratch / "store"
        say("ingesting the logs")
        ingested = reports.ingest_logs(arguments.binary, arguments.logs, store, scratch)
    size = read_through(reports.log_files(arguments.logs))
    runners = reports.engines(arguments.logs, arguments.threads, scratch, arguments.binary, store)
    results: dict[str, list[reports.Report]] = {name: [] for name in runners}
    for number in range(arguments.runs):
        for name, run_once in runners.items():
            run = run_once()
            results[name].append(run)
            say(f"run {number + 1}: {name} {run.wall:.2f} s, {run.memory / MIB:,.0f} MiB")
    runs = [run for all_runs in results.values() for run in all_runs]
    reports.require_agreement(runs)
    print(f"{size / MIB:,.0f} MiB of Parquet; median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n")
    print(table(results, "query"))
    print(f"\n{reports.agreed(runs)}")
    if store:
        print(
            f"Taking the logs into the store and making the facts took {ingested.wall:.1f} s and "
            f"{ingested.memory / MIB:,.0f} MiB, once."
        )


def agree(arguments: argparse.Namespace, scratch: Path) -> None:
    """Generates logs and compares what every engine counts in them, sendlift also from a store, asked once and again."""
    logs, store = scratch / "logs", scratch / "store"
    generate(arguments.binary, logs, arguments.messages, "parquet", scratch)
    say("ingesting the logs")
    reports.ingest_logs(arguments.binary, logs, store, scratch)
    runs = []
    for name, run_once in reports.engines(logs, arguments.threads, scratch, arguments.binary, store).items():
        say(f"running {name}")
        run = run_once()
        if name == reports.FROM_STORE:
            reports.add_clicked(run, arguments.binary, store, scratch)
        runs.append(run)
    reports.require_agreement(runs)
    sent = sum(row["sent"] for row in runs[0].rows.values())
    if sent != arguments.messages:
        raise SystemExit(f"all engines agree on {sent:,} messages, but {arguments.messages:,} were generated")
    print(reports.agreed(runs))


def ingest(arguments: argparse.Namespace, scratch: Path) -> None:
    """Compares the ingestion of generated files with the peers' conversions."""
    print(f"Median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n", flush=True)
    ingestion.compare(arguments.binary, arguments.messages, arguments.runs, arguments.threads, scratch)


def scale(arguments: argparse.Namespace, scratch: Path) -> None:
    """Runs the report over growing logs."""
    options = scaling.Options(
        binary=arguments.binary,
        sizes=arguments.sizes,
        runs=arguments.runs,
        threads=arguments.threads,
        with_store=arguments.with_store,
        kept=arguments.keep,
    )
    scaling.run(options, arguments.out, scratch)


def plot(arguments: argparse.Namespace, _scratch: Path) -> None:
    """Draws a table of `scale`."""
    scaling.plot(arguments.table, arguments.out)


def analyze(arguments: argparse.Namespace, scratch: Path) -> None:
    """Analyses generated tables of units by sendlift, tea-tasting and gbstats, and checks that they agree."""
    print(f"Median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n", flush=True)
    for units in arguments.units:
        print(experiments.compare(arguments.binary, units, arguments.runs, arguments.threads, scratch), flush=True)


def check_features(arguments: argparse.Namespace, scratch: Path) -> None:
    """Computes features of generated logs twice, by sendlift and from the raw logs, and compares them cell by cell."""
    features.run(arguments.binary, arguments.messages, scratch)


def scoring(arguments: argparse.Namespace, scratch: Path) -> None:
    """Makes features of generated logs, learns from simulated units, and scores, by sendlift and its peers."""
    print(f"Median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n", flush=True)
    for part in score.compare(
        arguments.binary, arguments.messages, arguments.units, arguments.runs, arguments.threads, scratch
    ):
        print(part, flush=True)


def send_windows(arguments: argparse.Namespace, scratch: Path) -> None:
    """Send windows from a store, of all and of each recipient, beside the counting that a script would do."""
    print(f"Median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n", flush=True)
    kept = (arguments.logs, arguments.store) if arguments.store else None
    print(windows.compare(arguments.binary, arguments.messages, kept, arguments.runs, arguments.threads, scratch))


def real_campaign(arguments: argparse.Namespace, scratch: Path) -> None:
    """Learns scores from one half of Hillstrom's e-mail trial and judges them on the other, over several splits."""
    print(hillstrom.compare(arguments.binary, arguments.data, arguments.seeds, arguments.threads, scratch))


def hillstrom_units(text: str) -> Path:
    """The table of units, or the folder of real data that it is in."""
    path = Path(text).resolve()
    return file(str(path / "hillstrom" / "units.csv.gz" if path.is_dir() else path))


def numbers(text: str) -> list[int]:
    """Numbers of at least 1, separated by commas."""
    return [positive(part) for part in text.split(",")]


def sizes(text: str) -> list[int]:
    """Millions of messages, separated by commas."""
    found = [round(float(part) * MILLION) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def positive(text: str) -> int:
    """A number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def file(text: str) -> Path:
    """A file that is there; absolute, since processes run in another folder."""
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def folder(text: str) -> Path:
    """A folder, absolute."""
    return Path(text).resolve()


def logs_folder(text: str) -> Path:
    """A folder with the logs of the report."""
    missing = [path.name for path in reports.log_files(folder(text)) if not path.is_file()]
    if missing:
        raise argparse.ArgumentTypeError(f"{text} lacks {', '.join(missing)}: write them with generate --format parquet")
    return folder(text)


def command_line() -> argparse.ArgumentParser:
    """The modes and their options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--threads",
        type=positive,
        default=min(2, usable_cpus()),
        help="threads of each engine, and CPUs that all processes are kept to (default %(default)s)",
    )
    common.add_argument("--work", type=folder, help="folder for what is made and removed again (default: the system's)")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=positive, default=3, help="runs of each engine; medians count (default %(default)s)")
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--binary", type=file, required=True, help="the sendlift binary")
    messages = argparse.ArgumentParser(add_help=False)
    messages.add_argument("--messages", type=positive, default=MILLION, help="messages to generate (default %(default)s)")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--with-store", action="store_true", help="sendlift from a store as well, which is made first")

    def mode(name: str, run, help_text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = modes.add_parser(name, help=help_text, description=run.__doc__, parents=list(parents), allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    reporting = mode("report", report, "time and memory of the report over logs that are there", common, runs, store)
    reporting.add_argument("--logs", type=logs_folder, required=True, help="folder with sends, deliveries, clicks, conversions")
    reporting.add_argument("--binary", type=file, help="the sendlift binary; without it the peers alone are compared")
    mode("agree", agree, "whether all engines count the same over generated logs", common, own, messages)
    mode("ingest", ingest, "CSV and NDJSON into a store beside conversions to Parquet", common, own, messages, runs)
    scaled = mode("scale", scale, "the report over growing logs: a table and a plot", common, own, runs, store)
    scaled.add_argument("--sizes", type=sizes, default="1,2,5,10,20,50,100", help="millions of messages (default %(default)s)")
    scaled.add_argument("--out", type=folder, default="scaling", help="folder of the results (default %(default)s)")
    scaled.add_argument("--keep", type=folder, help="folder where generated logs stay and are found the next time")
    drawing = mode("plot", plot, "the plot again from a table of `scale`")
    drawing.add_argument("--table", type=file, required=True, help="scaling.csv")
    drawing.add_argument("--out", type=folder, required=True, help="the SVG to write")
    drawing.set_defaults(threads=1, work=None)
    analysis = mode(
        "experiments", analyze, "an A/B test over a table of units beside tea-tasting and gbstats", common, own, runs
    )
    analysis.add_argument("--units", type=numbers, default="1000000,10000000", help="sizes of the tables (default %(default)s)")
    checked = mode("features", check_features, "features beside an independent computation", common, own, messages)
    checked.set_defaults(messages=20_000)
    scored = mode("score", scoring, "features, training and scoring in time and memory", common, own, messages, runs)
    scored.set_defaults(messages=200_000)
    scored.add_argument("--units", type=positive, default=200_000, help="units to learn from (default %(default)s)")
    timed = mode("windows", send_windows, "send windows beside clicks by hour", common, own, messages, runs)
    timed.add_argument("--logs", type=logs_folder, help="Parquet logs that are there, with --store")
    timed.add_argument("--store", type=folder, help="the store that these logs were ingested into, with its facts")
    real = mode("hillstrom", real_campaign, "scores of a real campaign", common, own)
    real.add_argument(
        "--data",
        type=hillstrom_units,
        default=os.environ.get("SENDLIFT_REAL_DATA"),
        required="SENDLIFT_REAL_DATA" not in os.environ,
        help="hillstrom/units.csv.gz, or the folder that it is in (default: SENDLIFT_REAL_DATA)",
    )
    real.add_argument("--seeds", type=numbers, default="1,2,3,4,5", help="a split for each (default %(default)s)")
    return parser


def main() -> None:
    """Reads the command line and runs a mode in a scratch folder that does not outlive it."""
    parser = command_line()
    arguments = parser.parse_args()
    if arguments.threads > usable_cpus():
        parser.error(f"only {usable_cpus()} CPUs are available: give --threads {usable_cpus()} or fewer")
    if arguments.mode == "windows" and bool(arguments.logs) != bool(arguments.store):
        parser.error("--logs and --store go together")
    if getattr(arguments, "with_store", False) and not arguments.binary:
        parser.error("--with-store wants a --binary")
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    # Python's own way with this signal would leave the scratch folder and the running engine behind.
    signal.signal(signal.SIGTERM, lambda *_: exit_for_signal())
    limit_cpus(arguments.threads)
    try:
        with scratch_folder(arguments.work) as scratch:
            arguments.run(arguments, scratch)
    except (ProcessFailed, subprocess.CalledProcessError) as error:
        raise SystemExit(str(error)) from error


def exit_for_signal() -> None:
    """Ends the program by way of its clean-ups."""
    raise SystemExit("stopped by a signal")


if __name__ == "__main__":
    main()
