"""What the three scripts share: running commands of sendlift, a server, requests to it, looking a store over, cleaning up.

Only Python's standard library is needed.
"""

import http.client
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

LOGS = ("recipients", "assignments", "sends", "deliveries", "clicks", "conversions", "replies", "opt_outs")
READY_SECONDS = 60
TIMEOUT_SECONDS = 300
# What no message to a person may hold.
PANIC_TEXT = ("panicked at", "stack backtrace", "RUST_BACKTRACE", "unwrap()", "internal error: entered unreachable")


class Violation(Exception):
    """Something that must hold does not."""


def require(is_right, message):
    if not is_right:
        raise Violation(message)


def progress(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def add_common_arguments(parser):
    parser.add_argument("--binary", required=True, help="the program to test")
    parser.add_argument("--work", default=None, help="where files are made (the system's temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the files behind when something is wrong")


def main(work):
    """Runs a script: exit status 0 when all held, 1 with a message when not."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        work()
    except Violation as violation:
        print(f"VIOLATION: {violation}", flush=True)
        sys.exit(1)


@contextmanager
def work_folder(options, name):
    """An empty folder, which is gone at the end."""
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"{options.binary} is no program: name it with --binary")
    options.binary = os.path.abspath(options.binary)
    if options.work:
        os.makedirs(options.work, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"sendlift-{name}-", dir=options.work and os.path.abspath(options.work))
    try:
        yield folder
    except Violation:
        if options.keep:
            print(f"the files are in {folder}", flush=True)
        raise
    finally:
        if not (options.keep and isinstance(sys.exc_info()[1], Violation)):
            shutil.rmtree(folder, ignore_errors=True)


class Program:
    """The binary over one store."""

    def __init__(self, binary, store, folder):
        self.binary, self.store, self.folder = binary, store, folder

    def over(self, store):
        return Program(self.binary, store, self.folder)

    @staticmethod
    def environment():
        # Neither configuration nor a request for backtraces comes in from outside.
        return {k: v for k, v in os.environ.items() if not k.startswith(("SENDLIFT_", "RUST_"))}

    def command(self, *arguments):
        return [self.binary, "--store", self.store, *arguments]

    def start(self, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more):
        return subprocess.Popen(
            self.command(*arguments), stdout=stdout, stderr=stderr, cwd=self.folder, env=self.environment(), **more
        )

    def run(self, *arguments, **more):
        """The outcome of a command that is let run to its end."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            errors="replace",
            cwd=self.folder,
            env=self.environment(),
            timeout=TIMEOUT_SECONDS,
            **more,
        )

    def must(self, *arguments):
        """The standard output of a command that must succeed."""
        done = self.run(*arguments)
        require(
            done.returncode == 0,
            f"`{' '.join(arguments[:6])}` ended with {done.returncode}: {done.stderr.strip()[:1000]}",
        )
        return done.stdout

    def sql(self, query):
        return json.loads(self.must("--format", "json", "sql", query))

    def report(self, *arguments):
        """The rows of the report in the order of their groups."""
        report = json.loads(self.must("--format", "json", "report", *arguments))
        return sorted(report["rows"], key=lambda row: [str(row.get(column)) for column in report["by"]])

    def doctor(self, deep=False):
        """The findings; the notes alone when the store is sound."""
        done = self.run("--format", "json", "doctor", *(["--deep"] if deep else []))
        try:
            diagnosis = json.loads(done.stdout)
        except ValueError:
            raise Violation(f"doctor ended with {done.returncode} and no diagnosis: {done.stderr.strip()[:1000]}") from None
        require((done.returncode == 0) == diagnosis["sound"], f"doctor ended with {done.returncode}: {diagnosis}")
        return diagnosis

    def must_be_sound(self, when, deep=False):
        diagnosis = self.doctor(deep)
        faults = [finding for finding in diagnosis["findings"] if finding["severity"] != "note"]
        require(diagnosis["sound"], f"{when}: doctor{' --deep' if deep else ''} finds {json.dumps(faults)[:2000]}")
        return diagnosis


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server over a store, with its log in a file."""

    def __init__(self, program, log):
        self.port = free_port()
        self.log_path = log
        with open(log, "ab") as file:
            self.process = program.start("serve", "--listen", f"127.0.0.1:{self.port}", stderr=file)
        end = time.monotonic() + READY_SECONDS
        while Client(self.port).ask("GET", "/readyz").status != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                with open(log, encoding="utf-8", errors="replace") as file:
                    raise Violation(f"the server does not come up: {file.read()[-1000:]}")
            time.sleep(0.02)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks the server to end, and returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Violation("the server does not end within a minute of SIGTERM") from None
        return self.process.returncode

    def resident(self):
        """MiB that the server holds in memory; None where the system does not say."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("VmRSS:"):
                        return int(line.split()[1]) / 1024
        except OSError:
            pass
        return None


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def text(self):
        return self.body[:500].decode(errors="replace")


class Client:
    """One connection, which is opened again when it breaks."""

    def __init__(self, port, timeout=120):
        self.port, self.timeout, self.connection = port, timeout, None

    def ask(self, method, path, body=None, headers=None):
        """The answer; with status 0 and the reason when the connection failed."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(0, {}, repr(error).encode())

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def alike(one, other):
    """Whether two values of a report are equal; sums of doubles depend on the order of the rows in their last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
