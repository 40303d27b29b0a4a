"""Kills commands and servers by SIGKILL at random moments, and checks that nothing acknowledged is lost or doubled.

    python3 kill.py --binary ../../target/release/sendlift --rounds 100 --seed 1

Logs are generated and cut, row by row in random order, into many batches of their own files; some sends stand in two of
them, and some batches hold a row that must be rejected. Each round starts one of `ingest`, `report` (the facts are made
anew), `compact`, `vacuum --keep 1`, or a server that several clients send batches to while another reads, and kills it:
half of the times after a random time, half as soon as a random number of changes of the store's folders was seen. Both
are drawn from what the command needs when it is let be. After every kill:

- `doctor` says that the store is sound, before anything else has touched it; every ten rounds also `doctor --deep`;
- each batch that was acknowledged (exit status 0, or a 2xx) is there with every row once, and its rejected row is in
  the quarantine once; of each other batch every row is there once, or none;
- what was not acknowledged is sent again, at once or in a later round, and some of what was is, too;
- every ten rounds the report equals one straight from the files of the batches that are there.

At the end the report equals that of a store which another ingest made of all batches at once.
Exit status 0 when all of this held, 1 when not. Only Python's standard library is needed, and a Unix.
"""

import argparse
import csv
import io
import json
import os
import queue
import random
import re
import shutil
import threading
import time
from urllib.parse import unquote

from harness import (
    LOGS,
    Client,
    Program,
    Server,
    Violation,
    add_common_arguments,
    alike,
    main,
    progress,
    require,
    work_folder,
)

COMMANDS = ("ingest", "report", "serve", "compact", "vacuum")
REPORT = ("--by", "campaign_id,variant")
# The generated logs' column of time, whose bad value makes a row be rejected.
TIMES = {
    "recipients": "signed_up_at",
    "assignments": "assigned_at",
    "sends": "sent_at",
    "deliveries": "at",
    "clicks": "clicked_at",
    "conversions": "occurred_at",
    "replies": "received_at",
    "opt_outs": "requested_at",
}
CLIENTS = 4
# Shares of batches: with a row to reject, sent under a key, of sends in two batches, of batches sent again at once, of
# acknowledged ones sent again.
BAD, KEYED, TWICE, AT_ONCE, AGAIN = 0.3, 0.5, 0.02, 0.6, 0.1
HOURS = 3_600_000


class Batch:
    def __init__(self, log, number, header, rows, bad, key, folder):
        self.log, self.number, self.rows, self.key = log, number, len(rows), key
        self.bad = f"bad-{number}-" if bad else None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*header, "batch_no", "batch_line"])
        writer.writerows([*row, f"b{number}", line] for line, row in enumerate(rows))
        if bad:
            wrong = list(rows[0])
            wrong[header.index(TIMES[log])] = self.bad
            writer.writerow([*wrong, f"b{number}", "bad"])
        self.body = text.getvalue().encode()
        self.path = os.path.join(folder, log, f"b{number}.csv")
        with open(self.path, "wb") as file:
            file.write(self.body)
        self.is_acknowledged = self.is_there = False


def cut(program, folder, messages, count, chance):
    """Generates logs and cuts them into about so many batches."""
    program.must("generate", "--out", os.path.join(folder, "logs"), "--messages", str(messages), "--seed", "7")
    tables = {}
    for log in LOGS:
        with open(os.path.join(folder, "logs", f"{log}.csv"), newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        if log == "sends":
            rows += chance.sample(rows, int(TWICE * len(rows)))
        chance.shuffle(rows)
        tables[log] = (header, rows)
    weights = {log: len(rows) ** 0.5 for log, (_, rows) in tables.items()}
    batches = []
    for log, (header, rows) in tables.items():
        os.makedirs(os.path.join(folder, "batches", log))
        pieces = max(1, min(len(rows), round(count * weights[log] / sum(weights.values()))))
        for piece in range(pieces):
            part = rows[piece * len(rows) // pieces : (piece + 1) * len(rows) // pieces]
            key = f"key-{len(batches)}" if chance.random() < KEYED else None
            bad = chance.random() < BAD
            batches.append(Batch(log, len(batches), header, part, bad, key, os.path.join(folder, "batches")))
    chance.shuffle(batches)
    return batches


class Watch:
    """Counts changes of the folders below a store while a command runs, and ends it after so many."""

    def __init__(self, store):
        self.store, self.count = store, 0
        self.seen = self.look()

    def look(self):
        seen = {}
        for folder, folders, _ in os.walk(self.store):
            seen[folder] = 0
            if len(folders) > 500:
                break
        for folder in seen:
            try:
                seen[folder] = os.stat(folder).st_mtime_ns
            except OSError:
                pass
        return seen

    def turn(self):
        now = self.look()
        self.count += sum(1 for folder, moment in now.items() if self.seen.get(folder) != moment)
        self.seen = now


class Usual:
    """What a command needs when it is let be: its seconds and its changes. The latest count most."""

    def __init__(self):
        self.seconds = self.changes = None

    def learn(self, seconds, changes):
        self.seconds = seconds if self.seconds is None else (self.seconds + seconds) / 2
        self.changes = changes if self.changes is None else round((self.changes + changes) / 2)


class Moment:
    """When to kill: after a time, or after some changes (and after a time at the latest)."""

    def __init__(self, usual, chance):
        by_changes = chance.random() < 0.5 and usual.changes
        self.changes = chance.randint(1, max(1, usual.changes * 4 // 5)) if by_changes else None
        self.seconds = 4 * usual.seconds if by_changes else chance.uniform(0.005, 0.9 * usual.seconds)

    def has_come(self, started, watch):
        if time.monotonic() - started >= self.seconds:
            return True
        return self.changes is not None and watch.count >= self.changes

    def __str__(self):
        return f"at change {self.changes}" if self.changes else f"after {self.seconds:.3f} s"


def let_run(process, moment, store):
    """Waits for a process or kills it; whether it was hit, its seconds and its changes."""
    started, watch = time.monotonic(), Watch(store)
    while process.poll() is None:
        watch.turn()
        if moment is not None and moment.has_come(started, watch):
            process.kill()
            break
        time.sleep(0.0005)
    process.wait()
    return process.returncode == -9, time.monotonic() - started, watch.count


class Rounds:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.chance = random.Random(options.seed)
        self.store = os.path.join(folder, "store")
        self.program = Program(options.binary, self.store, folder)
        writes = 2 * options.rounds // 5 + 2
        self.batches = cut(self.program, folder, options.messages, writes * 8, self.chance)
        self.per_write = max(2, len(self.batches) // writes)
        self.usual = {name: Usual() for name in COMMANDS}
        self.killed = dict.fromkeys(COMMANDS, 0)
        self.hit = dict.fromkeys(COMMANDS, 0)
        self.unacknowledged = self.unacknowledged_there = self.sent_again = 0
        with open(os.path.join(folder, "other.toml"), "w", encoding="utf-8") as file:
            file.write("[settings.attribution]\nwindow_days = 3\n")

    # What a round does.

    def run(self):
        for number in range(1, self.options.rounds + 1):
            if number % len(COMMANDS) == 1:
                # A write before what cares for its files, and in no fixed order otherwise.
                order = ["ingest", "report", "serve", "compact", "vacuum"]
                if self.chance.random() < 0.5:
                    order = ["serve", "report", "ingest", "compact", "vacuum"]
            name = order[(number - 1) % len(COMMANDS)]
            try:
                self.round(number, name)
            except Violation as violation:
                raise Violation(f"round {number} (--seed {self.options.seed}), {name}: {violation}") from None
        self.finish()

    def round(self, number, name):
        if self.usual[name].seconds is None:
            self.learn(name)
        self.prepare(name)
        moment = Moment(self.usual[name], self.chance)
        sent = self.take(name) if name in ("ingest", "serve") else []
        hit, seconds, changes = self.serve(sent, moment) if name == "serve" else self.command(name, sent, moment)
        self.killed[name] += 1
        self.hit[name] += hit
        if not hit:
            self.usual[name].learn(seconds, changes)
        self.check(f"after the kill {moment}", deep=number % 10 == 0, aged=name == "vacuum")
        open_batches = [batch for batch in sent if not batch.is_acknowledged]
        self.unacknowledged += len(open_batches)
        self.unacknowledged_there += sum(batch.is_there for batch in open_batches)
        if self.chance.random() < AT_ONCE or name == "vacuum":
            self.again(name, open_batches)
            self.check("after it was run again", aged=False)
        if number % 10 == 0:
            self.compare_with_files()
        progress(
            f"round {number}: {name} {'hit' if hit else 'missed'} {moment}"
            + (f", {len(open_batches)} of {len(sent)} batches not acknowledged" if sent else "")
        )

    def learn(self, name):
        """Lets a command be, over a copy of the store, to know what it needs."""
        sent, program = self.take(name) if name in ("ingest", "serve") else [], self.program
        acknowledged = [batch.is_acknowledged for batch in sent]
        original, copy = self.store, self.store + "-copy"
        if os.path.isdir(original):
            shutil.copytree(original, copy)
        self.store, self.program = copy, program.over(copy)
        try:
            self.prepare(name)
            _, seconds, changes = self.serve(sent, None) if name == "serve" else self.command(name, sent, None)
        finally:
            self.store, self.program = original, program
            for batch, before in zip(sent, acknowledged):
                batch.is_acknowledged = before
            shutil.rmtree(copy, ignore_errors=True)
        self.usual[name].learn(seconds, changes)
        progress(f"{name} takes {seconds:.2f} s and {changes} changes when it is let be")

    def take(self, name):
        """The batches of a write. Those that have a key come only over HTTP, where it is their identity."""
        fitting = [batch for batch in self.batches if name == "serve" or not batch.key]
        waiting = [batch for batch in fitting if not batch.is_acknowledged]
        # When none is left, some come again.
        return self.chance.sample(waiting, min(len(waiting), self.per_write)) or fitting[:1]

    def prepare(self, name):
        if name == "report" and os.path.isdir(self.store):
            if self.chance.random() < 0.5:
                # Facts by other settings: those by the usual ones are then made anew, day by day.
                self.program.must("--config", "other.toml", "report", *REPORT)
            else:
                for table in ("message_facts", "send_corrections"):
                    shutil.rmtree(os.path.join(self.store, table), ignore_errors=True)
        if name == "vacuum":
            grow_old(self.store)

    def command(self, name, sent, moment):
        arguments = {
            "ingest": ["ingest", "--max-rejected", "1", *(f"{batch.log}={batch.path}" for batch in sent)],
            "report": ["report", *REPORT],
            "compact": ["compact"],
            "vacuum": ["vacuum", "--keep", "1"],
        }[name]
        errors = os.path.join(self.folder, "stderr")
        with open(errors, "wb") as file:
            hit, seconds, changes = let_run(self.program.start(*arguments, stderr=file), moment, self.store)
        if not hit:
            with open(errors, encoding="utf-8", errors="replace") as file:
                self.require_success(name, file.read())
            for batch in sent:
                batch.is_acknowledged = True
        return hit, seconds, changes

    def require_success(self, name, errors):
        # A process that was not killed must have succeeded.
        require("sendlift: " not in errors, f"{name} failed: {errors.strip()[:1000]}")

    def serve(self, sent, moment):
        """Sends batches to a server by several clients and kills it; hit when some were not acknowledged."""
        # Some that were acknowledged before come again, and must change nothing.
        old = [batch for batch in self.batches if batch.is_acknowledged]
        old = self.chance.sample(old, min(len(old), round(AGAIN * len(sent)) + 1)) if old else []
        tasks, failures, done = queue.Queue(), [], threading.Event()
        for batch in self.chance.sample([*sent, *old], len(sent) + len(old)):
            tasks.put(batch)
        self.sent_again += len(old)
        server = Server(self.program, os.path.join(self.folder, "server.log"))
        was_acknowledged = {batch.number for batch in old}

        def post():
            client = Client(server.port)
            while not done.is_set():
                try:
                    batch = tasks.get_nowait()
                except queue.Empty:
                    break
                headers = {"Content-Type": "text/csv"} | ({"Idempotency-Key": batch.key} if batch.key else {})
                answer = client.ask("POST", f"/v1/logs/{batch.log}?max_rejected=1", batch.body, headers)
                if 200 <= answer.status < 300:
                    outcome = json.loads(answer.body)
                    expected = 0 if batch.number in was_acknowledged else batch.rows
                    if outcome["accepted"] not in (0, expected):
                        failures.append(f"batch b{batch.number} of {batch.rows} rows was answered {answer.text()}")
                    batch.is_acknowledged = True
                elif answer.status != 0:
                    failures.append(f"POST /v1/logs/{batch.log}: {answer.status} {answer.text()}")
            client.close()

        def read():
            client = Client(server.port)
            while not done.is_set():
                answer = client.ask("GET", "/v1/report?by=campaign_id,variant")
                if answer.status not in (0, 200):
                    failures.append(f"GET /v1/report: {answer.status} {answer.text()}")
                time.sleep(0.05)
            client.close()

        posters = [threading.Thread(target=post) for _ in range(CLIENTS)]
        reader = threading.Thread(target=read)
        started, watch = time.monotonic(), Watch(self.store)
        for thread in [*posters, reader]:
            thread.start()
        while any(thread.is_alive() for thread in posters):
            watch.turn()
            if moment is not None and moment.has_come(started, watch):
                break
            time.sleep(0.0005)
        seconds = time.monotonic() - started
        server.kill()
        done.set()
        for thread in [*posters, reader]:
            thread.join()
        require(not failures, f"the server answered wrongly: {failures[0] if failures else ''}")
        return any(not batch.is_acknowledged for batch in sent), seconds, watch.count

    def again(self, name, sent):
        """Runs a killed command to its end; batches without a key may come by the other way."""
        if name in ("ingest", "serve"):
            keyless = [batch for batch in sent if not batch.key]
            by_http = [batch for batch in sent if batch.key]
            if self.chance.random() < 0.5:
                by_http, keyless = sent, []
            if keyless:
                self.command("ingest", keyless, None)
            if by_http:
                hit, _, _ = self.serve(by_http, None)
                require(not hit, "a server that was let be did not acknowledge every batch")
        else:
            _, seconds, changes = self.command(name, [], None)
            # A second run may find less to do than the first.
            if name == "report" or changes >= self.usual[name].changes:
                self.usual[name].learn(seconds, changes)

    # What must hold.

    def check(self, when, deep=False, aged=False):
        if not os.path.isdir(self.store):
            require(not any(batch.is_acknowledged for batch in self.batches), f"{when}: the store is gone")
            return
        self.sound(when, deep, aged)
        found = self.rows_by_batch()
        rejected = self.rejected_by_batch()
        for batch in self.batches:
            rows, lines = found.get(f"b{batch.number}", (0, 0))
            bad = rejected.get(batch.bad, 0) if batch.bad else 0
            what = f"{when}: batch b{batch.number} of {batch.log} with {batch.rows} rows"
            batch.is_there = rows > 0
            require(rows == lines, f"{what} has {rows} in the store, and only {lines} different ones: doubled")
            require(rows in (0, batch.rows), f"{what} has {rows} in the store: torn")
            require(bad <= 1, f"{what} has its rejected row {bad} times in the quarantine")
            if batch.is_acknowledged:
                require(rows == batch.rows, f"{what} was acknowledged and has {rows} in the store: lost")
                require(bad == bool(batch.bad), f"{what} was acknowledged, and its rejected row is not in the quarantine")
        known = {f"b{batch.number}" for batch in self.batches}
        require(set(found) <= known, f"{when}: rows of unknown batches: {set(found) - known}")

    def sound(self, when, deep, aged):
        if not aged:
            self.program.must_be_sound(when, deep)
            return
        # Leftovers that were made to look old, and that the killed vacuum did not get at, are findings rightly.
        diagnosis = self.program.doctor(deep)
        for finding in diagnosis["findings"]:
            is_leftover = finding["remedy"].startswith("`sendlift vacuum` removes")
            require(finding["severity"] == "note" or is_leftover, f"{when}: doctor finds {json.dumps(finding)}")

    def rows_by_batch(self):
        query = "SELECT batch_no, count(*) AS n, count(DISTINCT batch_line) AS lines FROM {} GROUP BY batch_no"
        found = {}
        for log in LOGS:
            if not os.path.isdir(os.path.join(self.store, log, "_delta_log")):
                continue
            done = self.program.run("--format", "json", "sql", query.format(log))
            if done.returncode != 0:
                # The columns come with the first batch.
                require("No field named batch_no" in done.stderr, f"sql failed: {done.stderr.strip()[:1000]}")
                require(self.program.sql(f"SELECT count(*) AS n FROM {log}")[0]["n"] == 0, f"{log} has rows of no batch")
                continue
            for row in json.loads(done.stdout):
                require(row["batch_no"] not in found, f"rows of {row['batch_no']} are in two logs")
                found[row["batch_no"]] = (row["n"], row["lines"])
        return found

    def rejected_by_batch(self):
        counts = {}
        if os.path.isdir(os.path.join(self.store, "quarantine", "_delta_log")):
            for row in self.program.sql("SELECT reason FROM quarantine"):
                token = re.search(r"bad-\d+-", row["reason"])
                require(token, f"a row is in the quarantine that should not be: {row}")
                counts[token[0]] = counts.get(token[0], 0) + 1
        return counts

    def compare_with_files(self):
        there = [batch for batch in self.batches if batch.is_there]
        if not any(batch.log == "sends" for batch in there):
            return
        files = [f"{batch.log}={batch.path}" for batch in there]
        # The logs have bad rows, as in the store.
        straight = self.program.report(*REPORT, "--max-rejected", "1", "--logs", *files)
        self.same(self.program.report(*REPORT), straight, "straight from the files")

    def same(self, one, other, of_what):
        if one == other:
            return
        require(len(one) == len(other), f"the report has {len(one)} rows, that {of_what} {len(other)}")
        for left, right in zip(one, other):
            keys = [key for key in {**left, **right} if not alike(left.get(key), right.get(key))]
            if keys:
                differing = {key: (left.get(key), right.get(key)) for key in keys}
                raise Violation(f"the report is not that {of_what}: {differing} in {left.get('campaign_id')}")

    def finish(self):
        waiting = [batch for batch in self.batches if not batch.is_acknowledged]
        progress(f"the {len(waiting)} batches that are left, then a store made of all of them at once")
        by_http = [batch for batch in waiting if batch.key]
        by_file = [batch for batch in waiting if not batch.key]
        if by_http:
            self.serve(by_http, None)
        if by_file:
            self.command("ingest", by_file, None)
        require(all(batch.is_acknowledged for batch in self.batches), "not every batch was acknowledged in the end")
        self.check("in the end", deep=True)
        at_once = self.program.over(os.path.join(self.folder, "at-once"))
        at_once.must("ingest", "--max-rejected", "1", *(f"{batch.log}={batch.path}" for batch in self.batches))
        for by in (REPORT, ("--by", "day"), ("--by", "country,age_band")):
            self.same(self.program.report(*by), at_once.report(*by), f"of a store made at once ({by[1]})")
        for table in ("message_facts", *LOGS, "quarantine"):
            query = f"SELECT count(*) AS n FROM {table}"
            require(self.program.sql(query) == at_once.sql(query), f"{table} has another number of rows")


def grow_old(store):
    """Makes a store look as if a day had passed since what was removed was removed and what was left was left."""
    for table in os.listdir(store):
        log = os.path.join(store, table, "_delta_log")
        if not os.path.isdir(log):
            continue
        entries = [name for name in os.listdir(log) if re.fullmatch(r"\d{20}\.json", name)]
        if f"{0:020}.json" in entries:
            # Checkpoints repeat what the entries say.
            for name in os.listdir(log):
                if "checkpoint" in name:
                    os.remove(os.path.join(log, name))
        referred = set()
        for name in entries:
            path = os.path.join(log, name)
            state = os.stat(path)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            referred |= {unquote(action["add"]["path"]) for action in map(json.loads, text.splitlines()) if "add" in action}
            older = re.sub(
                r'("deletionTimestamp":)(\d{13})', lambda found: f"{found[1]}{max(10**12, int(found[2]) - 2 * HOURS)}", text
            )
            if older != text:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(older)
                os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        day_ago = time.time() - 25 * 3600
        for folder, _, names in os.walk(os.path.join(store, table)):
            for name in names:
                path = os.path.join(folder, name)
                inside = os.path.relpath(path, os.path.join(store, table))
                # Paths in the log are encoded, those of partitions twice.
                is_data = name.endswith(".parquet") and "_delta_log" not in inside
                if "#" in name or (is_data and inside not in referred):
                    os.utime(path, (day_ago, day_ago))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--rounds", type=int, default=100, help="kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the cut and of the moments (%(default)s)")
    parser.add_argument("--messages", type=int, default=4000, help="messages of the logs (%(default)s)")
    return parser.parse_args()


def run():
    options = arguments()
    started = time.monotonic()
    with work_folder(options, "kill") as folder:
        rounds = Rounds(options, folder)
        try:
            rounds.run()
        finally:
            print("command   kills   hit before the end")
            for name in COMMANDS:
                print(f"{name:8}  {rounds.killed[name]:5}   {rounds.hit[name]}")
            print(f"all       {sum(rounds.killed.values()):5}   {sum(rounds.hit.values())}")
            print(
                f"batches: {len(rounds.batches)}; {rounds.unacknowledged} times one was not acknowledged, "
                f"{rounds.unacknowledged_there} of these times it was there all the same; "
                f"{rounds.sent_again} times an acknowledged one was sent again"
            )
    print(f"nothing acknowledged was lost, nothing is there twice, the store is sound ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main(run)
