"""Runs the oracles again and holds what they write against the fixtures: `python check.py [--all]`.

A number may differ by 1e-6 of itself: another processor adds up in another order, and some oracles search for a root. Without
--all the scripts that enumerate tables or integrate at many digits, minutes each, are left out.
"""

import csv
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SLOW = {"bayes.py", "exact_interval.py", "exact_tests.py", "plan_campaign.py"}
TOLERANCE = 1e-6


def same(left: str, right: str) -> bool:
    if left == right:
        return True
    left_parts, right_parts = left.split(" "), right.split(" ")
    if len(left_parts) != len(right_parts):
        return False
    try:
        pairs = [(float(a), float(b)) for a, b in zip(left_parts, right_parts)]
    except ValueError:
        return False
    return all(
        a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1e-3)
        for a, b in pairs
    )


def differences(fixture: Path, made: Path) -> list[str]:
    with open(fixture, newline="") as known, open(made, newline="") as again:
        left, right = list(csv.reader(known)), list(csv.reader(again))
    if len(left) != len(right):
        return [f"{fixture.name}: {len(left)} rows, made again {len(right)}"]
    found = []
    for number, (row, other) in enumerate(zip(left, right), 1):
        for name, cell, remade in zip(left[0], row, other):
            if not same(cell, remade):
                found.append(f"{fixture.name} line {number}, {name}: {cell[:40]} made again {remade[:40]}")
    return found


def main() -> int:
    wanted = sorted(script for script in HERE.glob("*.py") if script.name != Path(__file__).name)
    if "--all" not in sys.argv:
        wanted = [script for script in wanted if script.name not in SLOW]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "oracle"
        shutil.copytree(HERE, work)
        for fixture in (work / "fixtures").glob("*.csv"):
            os.utime(fixture, (0, 0))
        failed = []
        for script in wanted:
            print(script.name, flush=True)
            done = subprocess.run([sys.executable, script.name], cwd=work, capture_output=True, text=True)
            if done.returncode != 0:
                failed.append(f"{script.name}: {done.stderr.strip().splitlines()[-1:]}")
        made = sorted(path for path in (work / "fixtures").glob("*.csv") if path.stat().st_mtime > 0)
        for fixture in made:
            failed.extend(differences(HERE / "fixtures" / fixture.name, fixture))
    for line in failed[:40]:
        print(line)
    print(f"{len(wanted)} oracles, {len(made)} fixtures made again, {len(failed)} differences beyond {TOLERANCE}")
    return 1 if failed or not made else 0


if __name__ == "__main__":
    sys.exit(main())
