#!/bin/sh
''':'
command -v python3 >/dev/null || "$(dirname "$0")/setup.sh" >&2 || exit 1
exec python3 "$0" "$@"
'''
__doc__ = """Compare our memcached with Debian's, the same load on all of them:

    (a) Debian's memcached in a Linux guest (linux-image-cloud-amd64, minimal initramfs)
    (b) our memcached in the same Linux guest, over its sockets
    (c) our memcached in the unikernel
    (d) Debian's memcached as a Linux process, -t 1, on loopback
    (e) ours as a Linux process, --smp 1, on loopback

    scripts/compare.py memcached --json result.json
    scripts/compare.py memcached --rows ac --runs 3 --seconds 2

Guests: same QEMU, q35, same CPUs and memory, the same tap in a network namespace of this tool's own; one at a time. The
Linux guest runs without mitigations and on the time-stamp counter. First every row is tried with each placement of its
threads (and Debian's memcached with several numbers of threads) and keeps, for each depth, what is best for it: guests by
requests a second, processes by requests per CPU second, as their ratios are. What was tried and taken is printed.

Runs are interleaved; medians, with the least and the most. A ratio is the median of the ratios of runs side by side. Passes:
placement; speed (closed loop: a connection sends DEPTH requests in one segment and waits for DEPTH answers); latency at an
equal offered load; executed guest instructions (a TCG plugin; a run of its own, since it slows the guest); kicks and
interrupts (QEMU's trace events). Per request figures are differences of two windows of a fixed number of requests, which
takes connecting and populating out.
"""
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time

from solaster import build, loadgen, measure, peers, placement, plugin, qemu, report, servers
from solaster.report import UserError, say

FIELDS = ("rps", "rps_per_cpu_second", "p50_us", "p99_us", "instructions_per_request", "kicks_per_request",
          "interrupts_per_request", "equal_load_p50_us", "equal_load_p99_us", "boot_ms", "peak_memory_bytes")
WINDOWS = 3
TRIALS, TRIAL_SECONDS = 2, 1.0
NOT_GUEST = "a process on the host: nothing there counts its instructions, and it has no guest's kicks or interrupts"


def parse_arguments():
    p = report.Parser(prog="compare.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["memcached"], metavar="memcached")
    p.add_argument("--json", metavar="FILE", help="write all figures there")
    p.add_argument("--rows", default="abcde", help="which of a to e (default: all)")
    p.add_argument("--depth", default="1,16", help="pipeline depths (default 1,16)")
    p.add_argument("--cpus", type=int, default=1, help="virtual CPUs of the guests (default 1)")
    p.add_argument("--memory", default="256M", help="memory of the guests (default 256M)")
    p.add_argument("--accel", default="auto", choices=("auto", "kvm", "tcg"))
    p.add_argument("--connections", type=int, default=50)
    p.add_argument("--get-ratio", type=float, default=0.9)
    p.add_argument("--value-size", type=int, default=64)
    p.add_argument("--keys", type=int, default=10000)
    p.add_argument("--runs", type=int, default=5, help="interleaved runs of each (default 5)")
    p.add_argument("--seconds", type=float, default=4, help="of load in each run (default 4)")
    p.add_argument("--window", type=int, default=10000, help="requests in the window that is counted (default 10000)")
    p.add_argument("--load", type=float, default=0.6, help="equal offered load, as a part of the slowest's rps (default 0.6)")
    p.add_argument("--skip", default="", metavar="PASSES", help="leave out passes: latency,instructions,events")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    args.mode = "release"
    try:
        args.depths = [int(d) for d in args.depth.split(",")]
    except ValueError:
        raise UserError("--depth %s: numbers with commas between, such as 1,16" % args.depth) from None
    if not args.rows or set(args.rows) - set(servers.ROWS):
        raise UserError("--rows %s: letters of %s" % (args.rows, "".join(servers.ROWS)))
    if min(args.runs, args.cpus, args.window, *args.depths) < 1:
        raise UserError("--runs, --cpus, --window and --depth must be at least 1")
    return args


class Samples:
    """All samples of one (row, depth), by field, and why a field has none."""

    def __init__(self, row, depth):
        self.row, self.depth = row, depth
        self.values = {field: [] for field in FIELDS}
        self.threads, self.client_seconds, self.requests = [], [], []
        self.why = {}
        self.equal_rate = None
        self.best = None   # (threads of the server, Placement) that this row is measured with
        self.tried = []    # [(text, figure)], best first

    def median(self, field):
        return measure.summary(self.values[field])[0]

    def as_json(self):
        out = {"row": self.row.name, "server": self.row.server, "host": self.row.host, "depth": self.depth}
        out["spread"], why = {}, dict(self.why)
        if self.best:
            out["server_threads"], out["placement"] = self.best[0], self.best[1].name
        out["placements_tried"] = self.tried
        for field in FIELDS:
            digits = 3 if field in ("kicks_per_request", "interrupts_per_request") else 1
            out[field], out["spread"][field] = measure.summary(self.values[field], digits)
            if out[field] is None:
                why.setdefault(field, "not measured")
            else:
                why.pop(field, None)
        if out["peak_memory_bytes"] is not None:
            out["peak_memory_bytes"] = int(out["peak_memory_bytes"])
            out["spread"]["peak_memory_bytes"] = [int(v) for v in out["spread"]["peak_memory_bytes"]]
        out["equal_load_rps"] = self.equal_rate
        names = sorted({name for sample in self.threads for name in sample})
        out["cpu_seconds_per_thread"] = {n: measure.summary([s.get(n, 0) for s in self.threads], 3)[0] for n in names}
        out["load_generator_cpu_seconds"] = measure.summary(self.client_seconds, 3)[0]
        out["requests_measured"] = self.requests
        out["runs"] = {field: values for field, values in self.values.items() if values}
        out["why"] = why
        return out


class Comparison:
    def __init__(self, args, accel):
        self.args = args
        settings = servers.Settings(args.cpus, args.memory, accel, mode=args.mode)
        self.accel = accel
        self.rows = [servers.ROWS[name](settings) for name in sorted(args.rows)]
        self.samples = {(row.name, depth): Samples(row, depth) for row in self.rows for depth in args.depths}
        self.dead = {}
        self.clocks = set()  # what the Linux guests said

    def of(self, row, depth):
        return self.samples[row.name, depth]

    def each(self, what, rounds, action, rows=None):
        """Runs action(row, round) in turns; a row that fails is reported, left out from then on, and its figures say why."""
        rows = rows or self.rows
        for i in range(rounds):
            order = rows[i % len(rows):] + rows[:i % len(rows)]  # nobody always goes first
            for row in (r for r in order if r.name not in self.dead):
                say("%s %d of %d: (%s) %s on %s" % (what, i + 1, rounds, row.name, row.server, row.host))
                try:
                    action(row)
                except UserError as error:
                    say("(%s) left out from here on: %s" % (row.name, error))
                    self.dead[row.name] = str(error)
                    for depth in self.args.depths:
                        for field in FIELDS:
                            self.of(row, depth).why.setdefault(field, str(error))

    @contextlib.contextmanager
    def started(self, row, depth, extra=()):
        """The row's server with the number of threads and the placement that are best for it at this depth."""
        row.threads, where = self.of(row, depth).best
        with row.start(extra) as running:
            where.apply(running.pid)
            self.clocks.update(re.findall(r"guest: (clock source \S+)", running.output()))
            yield running

    # ---- pass 0: which number of threads and which placement is best for each row

    def place(self, row):
        figures = {}
        for threads in row.thread_choices:
            row.threads = threads
            with row.start() as running:
                for depth in self.args.depths:
                    self.warm_up(row, running, depth)
                    for where in placement.placements(row.is_guest, self.args.cpus) * TRIALS:
                        where.apply(running.pid)
                        _, before = running.seconds()
                        load = loadgen.run(self.args, running.address, depth, where.client, seconds=TRIAL_SECONDS)
                        _, after = running.seconds()
                        figure = load.rps if row.is_guest else load.requests / max(after - before, 0.01)
                        figures.setdefault((depth, threads, where), []).append(figure)
        for depth in self.args.depths:
            found = sorted(((statistics.median(v), key[1], key[2]) for key, v in figures.items() if key[0] == depth),
                           key=lambda f: -f[0])
            sample = self.of(row, depth)
            sample.best = found[0][1:]
            sample.tried = [("%d thread%s, %s" % (t, "s" * (t > 1), w.name), round(f)) for f, t, w in found]

    # ---- pass 1: closed loop

    def speed(self, row):
        for depth in self.args.depths:
            sample = self.of(row, depth)
            with self.started(row, depth) as running:
                self.warm_up(row, running, depth)
                sample.values["boot_ms"].append(round(running.boot_ms, 1))
                threads, total = running.seconds()
                load = self.load(row, running, depth, seconds=self.args.seconds)
                threads_after, total_after = running.seconds()
                spent = max(total_after - total, 1e-9)
                sample.values["rps"].append(round(load.rps, 1))
                sample.values["rps_per_cpu_second"].append(round(load.requests / spent, 1))
                sample.values["p50_us"].append(round(load.p50_us, 1))
                sample.values["p99_us"].append(round(load.p99_us, 1))
                sample.values["peak_memory_bytes"].append(running.peak_memory())
                sample.threads.append(measure.difference(threads_after, threads))
                sample.client_seconds.append(round(load.cpu_seconds, 3))
                sample.requests.append(load.requests)

    def warm_up(self, row, running, depth):
        """Stores the keys and lets the server settle, in a run of its own: CPU seconds are read around the one after it."""
        self.load(row, running, depth, seconds=0.5, populate=True)

    def load(self, row, running, depth, **kwargs):
        best = self.of(row, depth).best
        return loadgen.run(self.args, running.address, depth, best and best[1].client, **kwargs)

    # ---- pass 2: open loop at one rate for all guests, one for all processes

    def set_rates(self):
        for kind in (True, False):
            for depth in self.args.depths:
                group = [self.of(r, depth) for r in self.rows if r.is_guest == kind]
                speeds = [s.median("rps") for s in group if s.median("rps")]
                for sample in group:
                    sample.equal_rate = int(min(speeds) * self.args.load) if speeds else None

    def latency(self, row):
        for depth in self.args.depths:
            sample = self.of(row, depth)
            if sample.equal_rate:
                with self.started(row, depth) as running:
                    self.warm_up(row, running, depth)
                    load = self.load(row, running, depth, seconds=self.args.seconds, rate=sample.equal_rate)
                    sample.values["equal_load_p50_us"].append(round(load.p50_us, 1))
                    sample.values["equal_load_p99_us"].append(round(load.p99_us, 1))

    # ---- passes 3 and 4: windows of a fixed number of requests

    def windows(self, row, running, depth, read):
        """Per request differences: a short run and a run longer by the window, so that what both do alike cancels."""
        short, window = self.args.window // 5, self.args.window
        self.warm_up(row, running, depth)
        for _ in range(WINDOWS):
            a = read()
            self.load(row, running, depth, count=short)
            b = read()
            self.load(row, running, depth, count=short + window)
            c = read()
            yield [((z - y) - (y - x)) / window for x, y, z in zip(a, b, c)]

    def instructions(self, row):
        for depth in self.args.depths:
            counter = plugin.Counter()
            try:
                with self.started(row, depth, counter.arguments) as running:
                    for per_request, in self.windows(row, running, depth, lambda: (counter.read(),)):
                        self.of(row, depth).values["instructions_per_request"].append(round(per_request, 1))
            finally:
                counter.close()

    def events(self, row):
        with tempfile.TemporaryDirectory(prefix="solaster-trace-") as folder:
            trace = measure.Trace(folder + "/events")
            for depth in self.args.depths:
                with self.started(row, depth, trace.arguments) as running:
                    trace.restart()
                    values = self.of(row, depth).values
                    for kicks, interrupts in self.windows(row, running, depth, trace.read):
                        values["kicks_per_request"].append(round(kicks, 3))
                        values["interrupts_per_request"].append(round(interrupts, 3))

    def run(self):
        skip = set(filter(None, self.args.skip.split(",")))
        guests = [row for row in self.rows if row.is_guest]
        for row in self.rows:
            for depth in self.args.depths if not row.is_guest else ():
                for field in ("instructions_per_request", "kicks_per_request", "interrupts_per_request"):
                    self.of(row, depth).why[field] = NOT_GUEST
        self.each("placement", 1, self.place)
        self.each("speed", self.args.runs, self.speed)
        if "latency" not in skip:
            self.set_rates()
            self.each("latency", min(self.args.runs, 3), self.latency)
        if guests and "instructions" not in skip:
            self.count_instructions(guests)
        if guests and "events" not in skip:
            self.each("events", 1, self.events, guests)

    def count_instructions(self, guests):
        why = None
        if self.accel != "tcg":
            why = "counted only under TCG"
        elif self.args.cpus > 1:
            why = "the counter is exact with one CPU only"
        if why:
            for row in guests:
                for depth in self.args.depths:
                    self.of(row, depth).why["instructions_per_request"] = why
        else:
            self.each("instructions", 1, self.instructions, guests)


# ---------------------------------------------------------------- what is shown

def shown(value, digits=0):
    return "-" if value is None else "{:,.{}f}".format(value, digits)


def print_table(rows):
    head = ["", "server", "host", "depth", "req/s", "least-most", "req/CPU s", "p50 us", "p99 us", "p50=", "p99=", "insn/req", "kick/req",
            "intr/req", "boot ms", "peak MiB"]
    lines = [head]
    for r in rows:
        peak = r["peak_memory_bytes"]
        least, most = r["spread"]["rps"] or (None, None)
        lines.append([r["row"], r["server"], r["host"], str(r["depth"]), shown(r["rps"]),
                      "%s-%s" % (shown(least), shown(most)), shown(r["rps_per_cpu_second"]),
                      shown(r["p50_us"]), shown(r["p99_us"]), shown(r["equal_load_p50_us"]), shown(r["equal_load_p99_us"]),
                      shown(r["instructions_per_request"]), shown(r["kicks_per_request"], 2),
                      shown(r["interrupts_per_request"], 2), shown(r["boot_ms"]),
                      shown(peak / (1 << 20) if peak else None, 1)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))))
    print("(p50=, p99=: open loop at the same offered load for all guests, and for all processes)")
    print()
    for r in rows:
        if r["cpu_seconds_per_thread"]:
            threads = ", ".join("%s %.2f" % item for item in sorted(r["cpu_seconds_per_thread"].items()) if item[1] >= 0.01)
            print("(%s) depth %d: %d thread%s, %s" % (r["row"], r["depth"], r["server_threads"], "s" * (r["server_threads"] > 1),
                                                      r["placement"]))
            for text, figure in r["placements_tried"]:
                print("      tried: %10s/s  %s" % (shown(figure), text))
            print("      CPU seconds: %s; load generator %s; offered load %s/s" % (
                threads, shown(r["load_generator_cpu_seconds"], 2), shown(r["equal_load_rps"])))


def ratios(rows):
    """The ratios that the project's aims are stated in: [(text, value)]."""
    by = {(r["row"], r["depth"]): r for r in rows}
    out = []
    for depth in sorted({r["depth"] for r in rows}):
        for one, other, field, text in (("c", "a", "rps", "requests per second, (c) to (a)"),
                                        ("a", "c", "instructions_per_request", "guest instructions per request, (a) to (c)"),
                                        ("b", "a", "rps", "requests per second, (b) to (a)"),
                                        ("e", "d", "rps_per_cpu_second", "requests per server CPU second, (e) to (d)"),
                                        ("e", "d", "rps", "requests per second, (e) to (d)")):
            xs, ys = (by.get((row, depth), {}).get("runs", {}).get(field, []) for row in (one, other))
            side_by_side = [x / y for x, y in zip(xs, ys) if y]
            if side_by_side:
                value, (least, most) = measure.summary(side_by_side, 2)
                out.append({"ratio": text, "depth": depth, "value": value, "least": least, "most": most})
    return out


def machine_facts(accel):
    model = ""
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "")
    version = subprocess.run([qemu.binary_path(), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "qemu": version, "accel": accel,
            "packages": peers.versions()}


def main():
    args = parse_arguments()
    report.VERBOSE = args.verbose
    if args.json:
        try:
            open(args.json, "a").close()
        except OSError as error:
            raise UserError("cannot write %s: %s" % (args.json, error.strerror)) from None
    build.ensure_packages()
    build.ensure_configured([args.mode])
    known = build.known_targets()
    build.build([t for t in ("build/release/" + n for n in ("solaster-kernel.elf", "memcached", "mcbench")) if t in known])
    peers.prepare()
    plugin.build_plugin()
    accel = qemu.choose_accel(args.accel)
    servers.make_network(args.cpus)
    start = time.monotonic()
    comparison = Comparison(args, accel)
    comparison.run()
    rows = [s.as_json() for s in comparison.samples.values()]
    print_table(rows)
    if comparison.clocks:
        print("Linux guest: %s, %s" % (servers.LINUX_TUNING, ", ".join(sorted(comparison.clocks))))
    found = ratios(rows)
    for ratio in found:
        print("depth %-3d %-47s %.2f (%.2f to %.2f)" % (ratio["depth"], ratio["ratio"], ratio["value"], ratio["least"],
                                                        ratio["most"]))
    settings = {k: v for k, v in vars(args).items() if k not in ("json", "verbose", "what", "depth", "mode")}
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"settings": settings, "machine": machine_facts(accel),
                       "linux_guest": [servers.LINUX_TUNING, *sorted(comparison.clocks)], "rows": rows, "ratios": found}, f, indent=1)
            f.write("\n")
    say("done in %.0f s%s" % (time.monotonic() - start, "; figures in " + args.json if args.json else ""))
    return 1 if comparison.dead else 0


if __name__ == "__main__":
    report.run_main(main)
