"""Breaks the disk and the store in turn, and looks at what sendlift says and what it still reads.

    sudo python3 disk.py --binary ../../target/release/sendlift

A full disk (a small tmpfs, at several amounts of room), a read-only file system and one without permission, a truncated
data file, a corrupt entry of a log, a corrupt checkpoint, a corrupt rollup. In each case:

- whatever fails ends with an exit status of its own (1 to 3) and an error on standard error that begins with
  `sendlift: `, names the file or the table's folder, says what to do, and holds no text of a panic;
- what does not need the broken part is read as before, and a server goes on answering;
- `doctor` finds what is broken, names the file, and is content with a store that only could not be written to;
- after the documented remedy (room again, the file put back, the folder removed) the same ingest succeeds, every row is
  there once, and the report is that of a store to which nothing happened.

A line is printed for each command that was looked at. All cases are gone through; the exit status is 1 if anything did
not hold. The full disk and the read-only file system need root on Linux, and are left out elsewhere with a message.
Only Python's standard library is needed.
"""

import argparse
import csv
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

from harness import (
    PANIC_TEXT,
    Client,
    Program,
    Server,
    Violation,
    add_common_arguments,
    alike,
    main,
    work_folder,
)

LOGS = ("sends", "deliveries", "clicks", "conversions")
KEYS = {"sends": "message_id", "clicks": "click_id", "conversions": "conversion_id"}
REPORT = ("--by", "campaign_id,variant")
# A grouping that no rollup has when a case begins.
NEW_REPORT = ("--by", "country")
CLICK_BATCHES = 14
DISK = "6m"
ROOMS_KIB = (0, 8, 40, 100, 200, 300, 450, 700)
NOBODY = 65534
SAYS_WHAT_TO_DO = re.compile(
    r"(?i)\b(free|room|remove|move|put \w+ back|restore|doctor|again|writable|permissions?|allow|vacuum|copy|delete|choose|"
    r"give|mount)\b"
)
BACKTRACE = re.compile(r"^\s*\d+: \S+::", re.MULTILINE)


class Findings:
    """What was looked at, a line each, and what did not hold."""

    def __init__(self):
        self.case, self.looked, self.faults, self.skipped = "", 0, 0, 0

    def say(self, what, faults, text=""):
        self.looked += 1
        self.faults += bool(faults)
        line = f"{'FAULT' if faults else 'ok   '} {self.case}: {what}"
        if faults:
            line += f" [{'; '.join(faults)}]"
        print(line + (f" -> {shorter(text)}" if text else ""), flush=True)

    def skip(self, what):
        self.skipped += 1
        print(f"skip  {what}", flush=True)


def shorter(text, most=330):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    # The error itself first, whatever was said before.
    text = " / ".join(sorted(lines, key=lambda line: not line.startswith("sendlift: ")))
    return text if len(text) <= most else text[:most] + " …"


def faults_of(done, names):
    """What is unclear about the error of a command."""
    faults = []
    if not 1 <= done.returncode <= 3:
        faults.append(f"exit status {done.returncode}")
    if BACKTRACE.search(done.stderr) or any(text in done.stderr for text in PANIC_TEXT):
        faults.append("text of a panic or a backtrace")
    if "sendlift: " not in done.stderr:
        faults.append("no error")
    if not re.search(names, done.stderr):
        faults.append(f"does not name {names}")
    if not SAYS_WHAT_TO_DO.search(done.stderr.replace("No space left on device", "")):
        faults.append("does not say what to do")
    return faults


class Cases:
    def __init__(self, options, folder):
        self.options, self.folder, self.findings = options, folder, Findings()
        self.base = Program(options.binary, os.path.join(folder, "base"), folder)
        self.files = self.make_files()
        self.reference = self.base.over(os.path.join(folder, "reference"))
        self.reference.must("ingest", *self.everything())
        self.expected = self.reference.report(*REPORT)
        self.base.must("ingest", *(f"{log}={path}" for log, path in self.files if log != "clicks" and "-late" not in path))
        for log, path in self.files:
            if log == "clicks" and path != self.held_back():
                self.base.must("ingest", f"{log}={path}")
        self.base.must("report", *REPORT)

    def make_files(self):
        """Sends and receipts in three files each, the last of which is ingested late; clicks in many."""
        self.base.must("generate", "--out", "logs", "--messages", "3000", "--seed", "5")
        files = []
        for log in LOGS:
            with open(os.path.join(self.folder, "logs", f"{log}.csv"), newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file))
            pieces = {"sends": 3, "deliveries": 3, "clicks": CLICK_BATCHES}.get(log, 1)
            for piece in range(pieces):
                name = f"{log}-late.csv" if pieces == 3 and piece == 2 else f"{log}-{piece}.csv"
                path = os.path.join(self.folder, "logs", name)
                with open(path, "w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerows([header, *rows[piece * len(rows) // pieces : (piece + 1) * len(rows) // pieces]])
                files.append((log, path))
        return files

    def everything(self):
        return [f"{log}={path}" for log, path in self.files]

    def late(self):
        return [f"{log}={path}" for log, path in self.files if "-late" in path]

    def held_back(self):
        """Clicks of days in the middle, which take the version of a commit that was removed."""
        return os.path.join(self.folder, "logs", f"clicks-{CLICK_BATCHES // 2 - 2}.csv")

    # What is looked at.

    def fails(self, program, what, names, *arguments, **more):
        """A command that must fail, and clearly."""
        done = program.run(*arguments, **more)
        if done.returncode == 0:
            self.findings.say(what, ["succeeds, and should not"], done.stderr)
        else:
            self.findings.say(what, faults_of(done, names), done.stderr)
        return done

    def works(self, program, what, *arguments, expected=None, **more):
        """A command that must work as if nothing had happened."""
        done = program.run(*arguments, **more)
        faults = [f"exit status {done.returncode}"] if done.returncode else []
        if done.returncode == 0 and expected is not None and not expected(done.stdout):
            faults.append("another answer than before")
        self.findings.say(what, faults, done.stderr if faults else "")
        return done

    def same(self, program, what):
        """The report, which must be that of before."""
        return self.works(program, what, "--format", "json", "report", *REPORT, expected=self.same_report)

    def either(self, program, what, names, *arguments, expected=None, **more):
        """A command that may fail, but clearly. Whether it worked."""
        done = program.run(*arguments, **more)
        if done.returncode == 0:
            is_other = expected is not None and not expected(done.stdout)
            self.findings.say(f"{what}: works", ["another answer than before, and no error"] if is_other else [])
        else:
            self.findings.say(what, faults_of(done, names), done.stderr)
        return done.returncode == 0

    def doctor(self, program, names=None, **more):
        """`doctor` finds a file that it names, or nothing."""
        done = program.run("--format", "json", "doctor", **more)
        try:
            diagnosis = json.loads(done.stdout)
        except ValueError:
            self.findings.say("doctor", ["no diagnosis"], done.stderr)
            return
        told = [f"{f.get('table', '')}/{f.get('file', '')}: {f['what']}: {f['remedy']}" for f in diagnosis["findings"]]
        bad = [f for f in diagnosis["findings"] if f["severity"] != "note"]
        if names is None:
            faults = ["finds faults"] if bad else []
        else:
            faults = [] if any(re.search(names, line) for line in told) else [f"does not name {names}"]
        if BACKTRACE.search(done.stdout + done.stderr) or any(text in done.stdout + done.stderr for text in PANIC_TEXT):
            faults.append("text of a panic or a backtrace")
        self.findings.say("doctor", faults, " | ".join(told))

    def is_whole(self, program, what):
        """After the remedy: the ingest of everything succeeds, and every row is there once."""
        faults, text = [], ""
        try:
            text = program.run("ingest", *self.everything()).stderr
            program.must("ingest", *self.everything())
            text = ""
            for log in LOGS:
                key = KEYS.get(log)
                query = f"SELECT count(*) AS n, {f'count(DISTINCT {key})' if key else '0'} AS ids FROM {log}"
                found, due = program.sql(query), self.reference.sql(query)
                if found != due:
                    faults.append(f"{log} {found[0]}, not {due[0]}: lost or doubled")
            if not alike(program.report(*REPORT), self.expected):
                faults.append("another report")
            program.must_be_sound("after the remedy", deep=True)
        except Violation as violation:
            faults.append(str(violation))
        self.findings.say(what, faults, text if faults else "")

    def same_report(self, output):
        return alike(json.loads(output)["rows"], self.before)

    def clicks(self, output):
        return json.loads(output) == self.base.sql("SELECT count(*) AS n FROM clicks")

    @contextmanager
    def case(self, name, place=None):
        """A copy of the store for a case."""
        self.findings.case = name
        store = os.path.join(place or self.folder, "store")
        shutil.copytree(self.base.store, store)
        program = self.base.over(store)
        self.before = json.loads(program.must("--format", "json", "report", *REPORT))["rows"]
        try:
            yield program
        finally:
            shutil.rmtree(store, ignore_errors=True)

    @contextmanager
    def tmpfs(self):
        """A small file system; nothing where it cannot be made."""
        place = os.path.join(self.folder, "disk")
        os.makedirs(place)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "none", place]
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform == "linux"
        mounted = is_root and subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield place if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "-l", place], check=False)
            os.rmdir(place)

    # The cases.

    def full_disk(self):
        with self.tmpfs() as place:
            if place is None:
                self.findings.skip("full disk: a tmpfs needs root on Linux")
                return
            for room in ROOMS_KIB:
                with self.case(f"full disk, {room} KiB left", place) as program, filled(place, room):
                    done = self.either(program, "ingest", r"store/\w+", "ingest", *self.late())
                    self.either(program, "report", r"store/\w+", "report", *REPORT)
                    if not done:
                        self.either(program, "report by another column", r"store/\w+", "report", *NEW_REPORT)
                    self.doctor(program)
                    empty(place)
                    self.is_whole(program, "the same ingest with room again")
            with self.case("full disk, compact", place) as program, filled(place, 20):
                self.fails(program, "compact", r"store/\w+", "compact")
                self.same(program, "report")
                self.doctor(program)
                empty(place)
                self.works(program, "compact with room again", "compact")
                self.is_whole(program, "the same ingest with room again")
            with self.case("full disk, facts to be made", place) as program:
                shutil.rmtree(os.path.join(program.store, "message_facts"))
                with filled(place, 20):
                    self.fails(program, "report", r"message_facts", "report", *REPORT)
                    self.doctor(program)
                    empty(place)
                    self.same(program, "report with room again")
                    self.is_whole(program, "the same ingest with room again")
            with self.case("full disk, server", place) as program, filled(place, 8):
                self.server(program, lambda: empty(place))

    def server(self, program, mend):
        """A server over a store that cannot be written to, and then can."""
        log = os.path.join(self.folder, "server.log")
        if os.path.exists(log):
            os.remove(log)
        server = Server(program, log)
        try:
            client = Client(server.port)
            report = "/v1/report?by=campaign_id,variant"
            same = lambda answer: answer.status == 200 and alike(json.loads(answer.body)["rows"], self.before)  # noqa: E731
            self.findings.say("GET", [] if same(client.ask("GET", report)) else ["no answer, or another one"])
            bodies = []
            for path in self.late():
                name, path = path.split("=", 1)
                with open(path, "rb") as file:
                    bodies.append((name, file.read()))
            answers = [client.ask("POST", f"/v1/logs/{name}", body, {"Content-Type": "text/csv"}) for name, body in bodies]
            refused = [answer for answer in answers if not 200 <= answer.status < 300]
            faults = [] if refused else ["every batch is acknowledged"]
            faults += [f"status {answer.status}" for answer in refused if answer.status < 500]
            faults += ["text of a panic" for answer in refused if any(text in answer.text() for text in PANIC_TEXT)]
            self.findings.say("POST", faults, " ".join(f"{answer.status} {answer.text()}" for answer in refused))
            with open(log, encoding="utf-8", errors="replace") as file:
                causes = re.findall(r'"cause":"((?:[^"\\]|\\.)*)"', file.read())
            faults = [] if any(re.search(r"store/\w+", cause) for cause in causes) else ["no cause names a file"]
            if any(BACKTRACE.search(cause.replace("\\n", "\n")) for cause in causes):
                faults.append("a backtrace")
            self.findings.say("the server's log", faults, causes[0] if causes else "")
            self.findings.say("GET after that", [] if client.ask("GET", report).status == 200 else ["no answer"])
            mend()
            answers = [client.ask("POST", f"/v1/logs/{name}", body, {"Content-Type": "text/csv"}) for name, body in bodies]
            faults = [f"{answer.status} {answer.text()}" for answer in answers if answer.status != 200]
            self.findings.say("the same POST afterwards", faults)
            client.close()
        finally:
            server.kill()
        self.is_whole(program, "the same rows by ingest")

    def read_only(self):
        with self.tmpfs() as place:
            if place is None:
                self.findings.skip("read-only file system: a tmpfs needs root on Linux")
            else:
                with self.case("read-only file system", place) as program:
                    remount(place, "ro")
                    try:
                        self.unwritable(program, {})
                    finally:
                        remount(place, "rw")
                    self.is_whole(program, "the same ingest when it can be written again")
                with self.case("read-only file system, facts behind", place) as program:
                    for table in ("message_facts", "send_corrections"):
                        shutil.rmtree(os.path.join(program.store, table), ignore_errors=True)
                    remount(place, "ro")
                    try:
                        self.either(program, "report", r"message_facts", "report", *REPORT)
                        self.either(program, "sql over a log", r"message_facts", "sql", "SELECT count(*) FROM sends")
                        self.doctor(program)
                    finally:
                        remount(place, "rw")
                    self.is_whole(program, "the same ingest when it can be written again")
                with self.case("read-only file system, server", place) as program:
                    remount(place, "ro")
                    try:
                        self.server(program, lambda: remount(place, "rw"))
                    finally:
                        remount(place, "rw")
        with self.case("no permission to write") as program:
            as_root = hasattr(os, "geteuid") and os.geteuid() == 0
            more = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if as_root else {}
            os.chmod(self.folder, 0o755)
            set_modes(program.store, 0o555)
            try:
                if program.run("--version", **more).returncode != 0:
                    self.findings.skip("no permission to write: another user cannot run the program here")
                    return
            except OSError as error:
                self.findings.skip(f"no permission to write: {error}")
                return
            finally:
                if as_root:
                    set_modes(program.store, 0o755)
            self.unwritable(program, more)
            set_modes(program.store, 0o755)
            self.is_whole(program, "the same ingest when it can be written again")

    def unwritable(self, program, more):
        self.works(program, "report", "--format", "json", "report", *REPORT, expected=self.same_report, **more)
        self.works(program, "report by another column", "report", *NEW_REPORT, **more)
        self.works(program, "sql", "sql", "SELECT count(*) FROM sends", **more)
        self.doctor(program, **more)
        self.fails(program, "ingest", r"store/\w+", "ingest", *self.late(), **more)
        new_log = os.path.join(self.folder, "logs", "opt_outs.csv")
        self.fails(program, "ingest of a log that is new", r"store/opt_outs", "ingest", f"opt_outs={new_log}", **more)
        self.fails(program, "compact", r"store/\w+", "compact", **more)
        self.works(program, "vacuum --dry-run", "vacuum", "--dry-run", **more)

    def truncated_data(self):
        with self.case("truncated data file of a log") as program:
            path = largest(os.path.join(program.store, "deliveries", "*.parquet"))
            os.truncate(path, os.path.getsize(path) // 2)
            name = re.escape(os.path.basename(path))
            self.same(program, "report that was asked before")
            self.works(program, "report by another column (facts)", "report", *NEW_REPORT)
            self.works(program, "sql over another log", "sql", "SELECT count(*) FROM clicks")
            self.fails(program, "sql over this log", name, "sql", "SELECT status, count(*) FROM deliveries GROUP BY status")
            self.fails(program, "ingest, whose facts need the file", name, "ingest", *self.late())
            self.doctor(program, name)
            self.fails(program, "compact", name, "compact")
            for table in ("deliveries", "message_facts", "send_corrections"):
                shutil.rmtree(os.path.join(program.store, table), ignore_errors=True)
            self.is_whole(program, "its folder removed and everything ingested again")
        with self.case("truncated data file of the facts") as program:
            path = largest(os.path.join(program.store, "message_facts", "*", "*.parquet"))
            os.truncate(path, os.path.getsize(path) // 2)
            name = re.escape(os.path.basename(path))
            self.same(program, "report that was asked before")
            self.works(program, "sql over a log", "sql", "SELECT count(*) FROM clicks")
            self.either(program, "report by another column", name, "report", *NEW_REPORT)
            self.doctor(program, name)
            for table in ("message_facts", "send_corrections"):
                shutil.rmtree(os.path.join(program.store, table), ignore_errors=True)
            self.same(program, "report, the facts removed")
            self.is_whole(program, "the same ingest")
        with self.case("missing data file of a log") as program:
            path = largest(os.path.join(program.store, "deliveries", "*.parquet"))
            os.rename(path, path + ".away")
            name = re.escape(os.path.basename(path))
            self.fails(program, "sql over this log", name, "sql", "SELECT status, count(*) FROM deliveries GROUP BY status")
            self.doctor(program, name)
            os.rename(path + ".away", path)
            self.is_whole(program, "the file put back")

    def corrupt_log(self):
        for what, pick, text in (
            ("cut-off last entry", -1, None),
            ("overwritten last entry", -1, b"\x00\xff not json\n"),
            ("empty last entry", -1, b""),
            ("overwritten entry in the middle", 5, b"\x00\xff not json\n"),
        ):
            with self.case(f"{what} of a log") as program:
                entries = sorted(glob.glob(os.path.join(program.store, "clicks", "_delta_log", "*.json")))
                path = entries[pick]
                with open(path, "rb") as file:
                    whole = file.read()
                with open(path, "wb") as file:
                    file.write(whole[: len(whole) * 2 // 3] if text is None else text)
                name = re.escape(os.path.basename(path)) if text != b"" else r"clicks"
                answers = ["--format", "json", "report", *REPORT]
                self.either(program, "report", name, *answers, expected=self.same_report)
                clicks = self.clicks
                query = "SELECT count(*) AS n FROM clicks"
                self.either(program, "sql over this log", name, "--format", "json", "sql", query, expected=clicks)
                self.either(program, "sql over another log", name, "sql", "SELECT count(*) FROM sends")
                self.either(program, "ingest of another log", name, "ingest", *self.late())
                self.doctor(program, re.escape(os.path.basename(path)))
                if pick == -1:
                    os.remove(path)
                    self.works(program, "the entry removed, other clicks ingested", "ingest", f"clicks={self.held_back()}")
                    self.is_whole(program, "the entry removed and everything ingested again")
                else:
                    for table in ("clicks", "message_facts", "send_corrections"):
                        shutil.rmtree(os.path.join(program.store, table), ignore_errors=True)
                    self.is_whole(program, "the log's folder removed and everything ingested again")

    def corrupt_checkpoint(self):
        for what in ("truncated checkpoint", "overwritten checkpoint", "corrupt _last_checkpoint"):
            with self.case(what) as program:
                program.must("compact")
                self.before = json.loads(program.must("--format", "json", "report", *REPORT))["rows"]
                log = os.path.join(program.store, "clicks", "_delta_log")
                checkpoints = glob.glob(os.path.join(log, "*.checkpoint.parquet"))
                if not checkpoints:
                    self.findings.say("compact", ["writes no checkpoint"])
                    continue
                path = os.path.join(log, "_last_checkpoint") if "_last" in what else checkpoints[-1]
                with open(path, "r+b") as file:
                    if "truncated" in what:
                        file.truncate(os.path.getsize(path) // 2)
                    else:
                        file.write(b"garbage" * (os.path.getsize(path) // 7))
                name = re.escape(os.path.basename(path))
                answers = ["--format", "json", "report", *REPORT]
                self.either(program, "report", name, *answers, expected=self.same_report)
                self.either(program, "sql over another log", name, "sql", "SELECT count(*) FROM sends")
                self.either(program, "ingest of another log", name, "ingest", *self.late())
                self.doctor(program, name)
                for file in (*checkpoints, os.path.join(log, "_last_checkpoint")):
                    os.remove(file)
                self.is_whole(program, "the checkpoint removed and the same ingest")

    def corrupt_rollup(self):
        for what, damage in (
            ("truncated", lambda whole: whole[: len(whole) // 2]),
            ("empty", lambda whole: b""),
            ("overwritten", lambda whole: b"\x00\xff" * (len(whole) // 2)),
            ("of another shape", lambda whole: b'{"name": 1}'),
        ):
            with self.case(f"{what} rollup") as program:
                rollups = glob.glob(os.path.join(program.store, "_rollups", "*"))
                if not rollups:
                    self.findings.say("report", ["keeps no rollup"])
                    continue
                for path in rollups:
                    with open(path, "rb") as file:
                        whole = file.read()
                    with open(path, "wb") as file:
                        file.write(damage(whole))
                self.same(program, "report")
                self.doctor(program)
                self.is_whole(program, "the same ingest")


def largest(pattern):
    return max(glob.glob(pattern), key=os.path.getsize)


def set_modes(folder, mode):
    for inside, _, _ in os.walk(folder):
        os.chmod(inside, mode)


def remount(place, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", place], check=True, capture_output=True)


@contextmanager
def filled(place, room_kib):
    """A file system with so much room, until it is emptied."""
    state = os.statvfs(place)
    fill = max(0, state.f_bavail * state.f_frsize - room_kib * 1024)
    with open(os.path.join(place, "fill"), "wb") as file:
        try:
            while fill > 0:
                fill -= file.write(b"\0" * min(fill, 1 << 16))
        except OSError:
            pass
    try:
        yield
    finally:
        empty(place)


def empty(place):
    path = os.path.join(place, "fill")
    if os.path.exists(path):
        os.remove(path)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--only", default="", help="only the groups whose name holds this, such as full or checkpoint")
    return parser.parse_args()


def run():
    options = arguments()
    with work_folder(options, "disk") as folder:
        cases = Cases(options, folder)
        groups = {
            "full disk": cases.full_disk,
            "read-only": cases.read_only,
            "truncated data": cases.truncated_data,
            "corrupt log": cases.corrupt_log,
            "corrupt checkpoint": cases.corrupt_checkpoint,
            "corrupt rollup": cases.corrupt_rollup,
        }
        for name, group in groups.items():
            if options.only in name:
                group()
        found = cases.findings
        print(f"{found.looked} looked at, {found.faults} faults, {found.skipped} left out")
        if found.faults:
            raise Violation(f"{found.faults} faults, see above")


if __name__ == "__main__":
    main(run)
