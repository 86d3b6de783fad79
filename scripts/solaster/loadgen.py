"""Runs mcbench and reads its JSON: the one place that knows its options and its fields."""
import json
import os
import subprocess
import tempfile

from . import build
from .guest import die_with_parent
from .report import UserError
from .servers import PORT

SLACK_SECONDS = 60


class Load:
    """One run's outcome. cpu_seconds: the load generator's own."""

    def __init__(self, data, cpu_seconds):
        self.rps, self.requests, self.seconds = data["rps"], data["requests"], data["seconds"]
        self.p50_us, self.p99_us = data["latency_us"]["p50"], data["latency_us"]["p99"]
        self.errors = data["wrong_values"] + data["errors"]
        self.first_error = data["first_error"]
        self.cpu_seconds = cpu_seconds


def command(options, address, depth, json_path, count=None, seconds=None, rate=None, populate=False, warm_up=0):
    out = [str(build.out(options.mode) / "mcbench"), "--server", "%s:%d" % (address, PORT), "--quiet", "--smp", "1",
           "--connections", str(options.connections), "--depth", str(depth), "--get-ratio", str(options.get_ratio),
           "--value-size", str(options.value_size), "--keys", str(options.keys), "--json", json_path,
           "--populate", str(int(populate)), "--warmup", str(warm_up)]
    out += ["--requests", str(count)] if count else ["--duration", str(seconds)]
    if rate:
        out += ["--rate", str(rate)]
    return out


def run(options, address, depth, cpus=None, **kwargs):
    """One run against a server, on these CPUs; raises UserError when mcbench fails or a value that it read was wrong."""
    def prepare():
        die_with_parent()
        if cpus:
            os.sched_setaffinity(0, cpus)

    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        words = command(options, address, depth, result.name, **kwargs)
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=prepare)
            try:
                status, usage = wait(process, SLACK_SECONDS + (kwargs.get("seconds") or 60))
            finally:
                process.kill() if process.returncode is None else None
            log.seek(0)
            said = log.read().decode(errors="replace")
        if status != 0:
            raise UserError("mcbench ended with status %s: %s" % (status, said[-600:].strip()))
        try:
            data = json.loads(result.read())
        except ValueError:
            raise UserError("mcbench wrote no JSON; it says: %s" % said[-600:].strip()) from None
    load = Load(data, usage.ru_utime + usage.ru_stime)
    if load.errors:
        raise UserError("mcbench counts %d wrong answers; the first: %s" % (load.errors, load.first_error))
    return load


def wait(process, timeout):
    """(exit status, resource usage) of a child; killed at the deadline."""
    import signal
    import threading
    timer = threading.Timer(timeout, lambda: os.kill(process.pid, signal.SIGKILL))
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage
