"""Counts the instructions of a few commands under callgrind and compares them with the counts that are kept.

Time depends on the machine and on what else it does; instructions hardly do. So a change that makes a hot path do more work
is seen on a shared machine, too. The counts hold for one compiler and one kind of processor: with
another one nothing is compared, and the guard says so.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path(__file__).with_name("instructions.json")
MESSAGES = 20_000
# Threads share the work out a little differently each time; what matters is far above it.
TOLERANCE = 0.05


def commands(logs: Path, store: Path) -> dict[str, list[str]]:
    """The hot paths, each as the arguments of one command. The first one fills the store that the others read."""
    raw = [f"{log}={logs / log}.parquet" for log in ("sends", "deliveries", "clicks", "conversions")]
    by = ["--by", "campaign_id,variant"]
    return {
        "ingest": ["--store", str(store), "ingest", *raw],
        "report from files": ["report", "--logs", *raw, *by],
        # A period is counted, not read from a rollup.
        "report from the store": ["--store", str(store), "report", *by, "--from", "2000-01-01"],
        "report from a rollup": ["--store", str(store), "report", *by],
    }


def instructions(binary: Path, arguments: list[str], folder: Path) -> int:
    """Instructions that one command takes, on all its threads."""
    out = folder / "callgrind.out"
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", str(binary), *arguments],
        capture_output=True, text=True, cwd=folder, check=False,
    )
    collected = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
    if run.returncode != 0 or collected is None:
        sys.exit(f"{' '.join(arguments)} failed under callgrind:\n{run.stderr}")
    return int(collected.group(1))


def compiler() -> str:
    """What the counts depend on besides the code."""
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    # Libraries choose their loops by the processor's extensions.
    processors = Path("/proc/cpuinfo")
    told = processors.read_text(encoding="utf-8") if processors.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", told)
    return f"{version}, {model.group(1) if model else platform.machine()}"


def main() -> None:
    """Measures, then compares or keeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True, help="the optimised sendlift")
    parser.add_argument("--keep", action="store_true", help="keep these counts from now on")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("not counted: valgrind is not installed")
        return
    binary = options.binary.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate = ["generate", "--out", "logs", "--messages", str(MESSAGES), "--seed", "3", "--format", "parquet"]
        subprocess.run([str(binary), *generate], cwd=folder, check=True, capture_output=True)
        measured = {
            name: instructions(binary, arguments, folder)
            for name, arguments in commands(folder / "logs", folder / "store").items()
        }
    if options.keep:
        KEPT.write_text(json.dumps({"compiler": compiler(), "instructions": measured}, indent=2) + "\n", encoding="utf-8")
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if kept["compiler"] != compiler():
        print(f"not compared: the counts are of {kept['compiler']}, this is {compiler()}; --keep keeps new ones")
        return
    worse = []
    for name, count in measured.items():
        before = kept["instructions"].get(name)
        change = f"{count / before - 1:+.1%}" if before else "new"
        print(f"{name:24} {count:>16,}  {change}")
        if before and count > before * (1 + TOLERANCE):
            worse.append(name)
    if worse:
        sys.exit(f"more instructions than before, by over {TOLERANCE:.0%}: {', '.join(worse)}. If that is meant, run with --keep")


if __name__ == "__main__":
    main()
