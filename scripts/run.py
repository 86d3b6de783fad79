#!/bin/sh
''':'
# A fresh Debian has no Python yet: as a shell script this installs it, then starts itself again as what it is.
command -v python3 >/dev/null || "$(dirname "$0")/setup.sh" >&2 || exit 1
exec python3 "$0" "$@"
'''
__doc__ = """Build a program and run it: as a unikernel under QEMU, or with --host the same file as a Linux process.

    scripts/run.py memcached                      serves on localhost:11211; Ctrl-C stops it
    scripts/run.py demos/echo --cpus 2
    scripts/run.py memcached --host -- -m 128     what comes after -- goes to the program
    scripts/run.py ./any-static-elf -- arg        any static x86-64 Linux program

The exit status is the program's own (128 + N when signal N ended it, 126 when the kernel panicked).
"""
import ipaddress
import os
import re
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from solaster import build, elf, network, qemu, report
from solaster.guest import Guest, free_port, kernel_path
from solaster.report import UserError, say

MEMORY_MIN_MIB = 16
# From Ctrl-C to the end by force: of a guest that says nothing, and of one that has said something since.
SILENT_SECONDS, STOPPING_SECONDS = 3, 10
BOUNCE_SECONDS = 0.1  # timeout(1) sends its signal twice at once: to its child and to the group
GDB_PORT = 1234  # as docs/testing.md says; the next free one when it is taken
PROGRAM_PLACE = 0x550000000000  # kernel/mm/address_space.cc, with the kernel option noaslr

# Program: (default port, how to talk to it).
SERVERS = {
    "memcached": (11211, ["printf 'set greeting 0 0 5\\r\\nhello\\r\\nget greeting\\r\\nquit\\r\\n' | nc localhost {port}",
                          "memcstat --servers=localhost:{port}        (from libmemcached-tools)"]),
    "demos/echo": (7777, ["echo hello | nc -q1 localhost {port}"]),
    "demos/sharded_counter": (7778, ["echo | nc -q1 localhost {port}"]),
}


def parse_arguments(argv):
    own, program_args = (argv[:argv.index("--")], argv[argv.index("--") + 1:]) if "--" in argv else (argv, [])
    p = report.Parser(prog="run.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", metavar="PROGRAM", help="memcached, demos/NAME, or the path of a static ELF file")
    p.add_argument("--host", action="store_true", help="run it as a Linux process instead of a guest")
    p.add_argument("--build-mode", default="release", choices=build.MODES, help="default: release")
    p.add_argument("--cpus", type=int, metavar="N", help="virtual CPUs, one shard each (default 1)")
    p.add_argument("--memory", metavar="SIZE", help="the guest's memory, such as 64M or 1G (default 256M)")
    p.add_argument("--publish", action="append", metavar="HOST:GUEST", default=None,
                   help="a host port that leads to a guest port, [ADDRESS:]HOST:GUEST[/udp]; repeatable "
                        "(default: every port on which the program listens, under its own number)")
    p.add_argument("--net", default="user", metavar="user|tap=NAME", help="user-mode networking (default), a tap, or none")
    p.add_argument("--machine", default="microvm", choices=qemu.MACHINES, help="default: microvm")
    p.add_argument("--accel", default="auto", choices=("auto", "kvm", "tcg"), help="default: kvm if it works")
    p.add_argument("--gdb", action="store_true",
                   help="wait for gdb before the first instruction (port %d), and write the script that it loads" % GDB_PORT)
    p.add_argument("--pcap", metavar="FILE", help="write the guest's packets to FILE")
    p.add_argument("--env", action="append", default=[], metavar="K=V", help="the program's environment in the guest")
    p.add_argument("--kernel-option", action="append", default=[], metavar="K[=V]",
                   help="for the kernel's command line: loglevel=0..7, noaslr, selftest=NAME, env=K=V")
    p.add_argument("--verbose", action="store_true", help="say more: each step, QEMU's command, the kernel's log")
    args = p.parse_args(own)
    args.program_args = program_args
    return args


# ---------------------------------------------------------------- what was asked for

def parse_memory(text):
    match = re.fullmatch(r"(\d+)\s*([kKmMgG]?)([iI]?[bB])?", text)
    if not match:
        raise UserError("--memory %s: not a size; say 64M or 1G" % text)
    mib = int(match[1]) * {"k": 1 / 1024, "": 1, "m": 1, "g": 1024}[match[2].lower()]
    if mib < MEMORY_MIN_MIB:
        raise UserError("--memory %s: too little; a guest needs at least %dM" % (text, MEMORY_MIN_MIB))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    if mib > total:
        raise UserError("--memory %s: this machine has %dM" % (text, total))
    return "%dM" % mib


def parse_publish(text):
    match = re.fullmatch(r"(?:([\d.]+):)?(\d+):(\d+)(?:/(tcp|udp))?", text)
    if not match or not all(0 < int(match[i]) < 65536 for i in (2, 3)):
        raise UserError("--publish %s: say HOST:GUEST, two port numbers such as 11211:11211" % text)
    return match[1] or "127.0.0.1", int(match[2]), int(match[3]), match[4] or "tcp"


def find_program(name, mode):
    """(path, name among our products or None); builds it when it is ours."""
    targets = build.known_targets()
    ours = "build/%s/%s" % (mode, name)
    if ours in targets:
        return build.ROOT / ours, name
    if os.path.exists(name):
        return Path(name), None
    if "/" in name and not name.startswith("demos/"):
        raise UserError("no such program: %s" % name)
    prefix = "build/%s/" % mode
    names = sorted(t[len(prefix):] for t in targets if re.fullmatch(prefix + r"(demos/)?\w+", t) and
                   (t + ".debug" in targets or mode == "sanitize") and not t.endswith(".a"))
    raise UserError("no program named %s; there are: %s" % (name, ", ".join(names) or "none yet"))


def own_port(product, args):
    """The port a server of ours will listen on: its default, or what -p / --port among its arguments says."""
    if product not in SERVERS:
        return None
    port = SERVERS[product][0]
    text = " ".join(args)
    match = re.search(r"(?:^|\s)(?:-p|--port)[ =]?(\d+)(?=\s|$)", text)
    return int(match[1]) if match else port


def parse_net(args, product):
    """A qemu.Net or None; adds the address options a program of ours needs on a tap."""
    kind, _, rest = args.net.partition("=")
    if kind == "none" and not rest:
        return None
    if kind == "user" and not rest:
        if args.publish is None:
            port = own_port(product, args.program_args)
            publish = [("127.0.0.1", port, port, "tcp")] if port else []
        else:
            publish = [parse_publish(p) for p in args.publish]
        for address, host, guest, proto in publish:
            network.check_port(address, host, proto, guest)
        return qemu.Net("user", publish=publish, publish_others=args.publish is None, pcap=args.pcap or "")
    if kind != "tap" or not rest:
        raise UserError("--net %s: say user, tap=NAME or none" % args.net)
    if args.publish:
        raise UserError("--publish is for --net user; on a tap the guest has an address of its own")
    words = rest.split(",")
    options = dict(word.partition("=")[::2] for word in words[1:])
    tap = words[0]
    network.check_tap(tap)
    queues = int(options.get("queues", 0)) or (1 if network.tap_queues(tap) == 1 else args.cpus)
    network.check_tap(tap, queues)
    if product and not any(a.startswith(("--host-ipv4-addr", "--dhcp")) for a in args.program_args):
        args.program_args = [*tap_address(tap), *args.program_args]
    return qemu.Net("tap", tap=tap, queues=queues, rss=options.get("rss", "on") == "on", pcap=args.pcap or "")


def tap_address(tap):
    """Options that give the guest the address after the host's on this tap; none (DHCP) if the host has none there."""
    found = network.interface_address(tap)
    if not found:
        say("the host has no IPv4 address on %s: the guest will ask there by DHCP" % tap)
        return []
    host = ipaddress.ip_interface("%s/%d" % found)
    guest = host.ip + 1 if host.ip + 1 in host.network and host.ip + 1 != host.network.broadcast_address else host.ip - 1
    say("the guest's address on %s will be %s" % (tap, guest))
    return ["--dhcp", "0", "--host-ipv4-addr", str(guest), "--netmask-ipv4-addr", str(host.netmask),
            "--gw-ipv4-addr", str(host.ip)]


# ---------------------------------------------------------------- as a Linux process

def run_on_host(args, path, product):
    for value, name in ((args.pcap, "--pcap"), (args.publish, "--publish")):
        if value:
            raise UserError("%s is for guests; leave out --host, or give the program its own options after --" % name)
    words = []
    if args.cpus and product:
        words += ["--smp", str(args.cpus)]
    if args.memory and product:
        words += ["--memory", parse_memory(args.memory)]
    if args.net.startswith("tap="):
        tap = args.net[4:].split(",")[0]
        network.check_tap(tap)
        words += ["--network-stack", "native", "--tap", tap]
        if not any(a.startswith(("--host-ipv4-addr", "--dhcp")) for a in args.program_args):
            words += tap_address(tap)
    command = [str(path), *words, *args.program_args]
    if not os.access(path, os.X_OK):
        raise UserError("%s is not executable" % path)
    if args.gdb:
        gdb = shutil.which("gdb")
        if not gdb:
            raise UserError("gdb not found; run scripts/setup.sh")
        command = [gdb, "--args", *command]
    say("%s runs as a Linux process; Ctrl-C stops it" % (product or "the program"))
    print_hints(product, own_port(product, args.program_args))
    report.detail("starting " + " ".join(command))
    sys.stdout.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    env = dict(os.environ, **dict(e.partition("=")[::2] for e in args.env))
    try:
        os.execve(command[0], command, env)
    except OSError as error:
        raise UserError("cannot start %s: %s" % (command[0], error.strerror)) from None


# ---------------------------------------------------------------- as a guest

def print_hints(product, port):
    if product in SERVERS and port:
        for hint in SERVERS[product][1]:
            say("  try: " + hint.format(port=port))


def announce(found, product, net, started):
    """Says where a port on which the guest listens is reached from here, or what is missing."""
    after = "(%.0f ms after the start)" % (1000 * (time.monotonic() - started))
    what = "UDP port %d" % found.port if found.proto == "udp" else "port %d" % found.port
    if net.kind != "user":
        say("serving on %s:%d%s %s" % (found.address, found.port, "/udp" if found.proto == "udp" else "", after))
    for address, port in found.published:
        host = "localhost" if address == "127.0.0.1" else address
        say("serving on %s:%d%s %s" % (host, port, "/udp" if found.proto == "udp" else "", after))
        print_hints(product if found.port == SERVERS.get(product, (0,))[0] or len(found.published) == 1 else None, port)
    if found.problem:
        say("the program listens on %s: %s" % (what, found.problem) if not found.published else found.problem)
    elif net.kind == "user" and not found.published:
        say("the program listens on %s, which is not published: add --publish %d:%d%s" %
            (what, found.port, found.port, "/udp" if found.proto == "udp" else ""))


def forward_stdin(guest):
    """Our standard input is the guest's. In the background a terminal is left alone."""
    def pump():
        while True:
            try:
                if os.isatty(0) and os.getpgrp() != os.tcgetpgrp(0):
                    time.sleep(0.5)
                    continue
                select.select([0], [], [])
                data = os.read(0, 4096)
            except OSError:
                return
            if not data:
                return
            guest.send(data)
    threading.Thread(target=pump, daemon=True).start()


def write_console(data):
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (OSError, ValueError):
        pass


def plan_guest(args, product):
    """The machine asked for; complains about what is wrong with it before anything is built."""
    args.cpus = args.cpus or 1
    machine = qemu.Machine(machine=args.machine, cpus=args.cpus, memory=parse_memory(args.memory or "256M"))
    net = parse_net(args, product)
    machine.nets = [net] if net else []
    if args.pcap:
        if not net:
            raise UserError("--pcap needs a network")
        try:
            open(args.pcap, "wb").close()
        except OSError as error:
            raise UserError("cannot write %s: %s" % (args.pcap, error.strerror)) from None
    return machine


def debug_symbols(path):
    """The file with a program's debug information: NAME.debug beside a product of ours, else the program itself."""
    beside = Path(str(path) + ".debug")
    return beside if beside.exists() else path


def write_gdb_script(kernel, path, data, port):
    """A script that gives gdb both programs' symbols and connects; its path. The program lies where noaslr puts it."""
    place = PROGRAM_PLACE if elf.is_position_independent(data) else 0
    script = build.BUILD / "gdb" / (Path(path).name + ".gdb")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("\n".join([
        "# Written by run.py --gdb. The kernel's symbols, the program's where the kernel puts it, and the connection.",
        "set confirm off", "set pagination off", "file %s" % kernel.resolve(),
        "add-symbol-file %s -o %#x" % (debug_symbols(path).resolve(), place),
        "target remote localhost:%d" % port, ""]))
    return script


def choose_gdb_port():
    try:
        network.check_port("127.0.0.1", GDB_PORT)
        return GDB_PORT
    except UserError:
        return free_port()


def run_in_guest(args, path, product, machine):
    data = elf.check_static_program(path)
    machine.accel = qemu.choose_accel(args.accel, args.build_mode)
    kernel = kernel_path(build.out(args.build_mode))
    options = (["loglevel=7"] if args.verbose else []) + ["env=" + e for e in args.env] + args.kernel_option
    if args.gdb:
        machine.gdb_port = choose_gdb_port()
        options += ["noaslr"] * ("noaslr" not in options)
        script = write_gdb_script(kernel, path, data, machine.gdb_port)
        say("waiting for gdb on port %d: gdb -x %s" % (machine.gdb_port, os.path.relpath(script)))
    name = Path(path).name
    net = machine.nets[0] if machine.nets else None
    say("booting %s as a unikernel on %s: %d CPU%s, %s, %s; Ctrl-C stops it" % (
        name, args.machine, args.cpus, "s"[:args.cpus > 1], machine.memory, machine.accel))
    started = time.monotonic()
    with Guest(machine, kernel, data, args.program_args, name=name, options=options, on_output=write_console,
               on_listen=lambda found: announce(found, product, net, started)) as guest:
        return supervise(guest)


class Stopper:
    """Signals that we get: the first is the guest's Ctrl-C, with a deadline; the second ends it, and so does the first where
    nothing will answer."""

    def __init__(self, guest):
        self.guest = guest
        self.forced = False
        self._began = None
        self._console_bytes = 0
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_deadline)

    def _on_signal(self, _number, _frame):
        now = time.monotonic()
        if self._began is None:
            self._began = now
            if self.guest.monitor.is_stopped:
                self._force("the guest stands still (QEMU: %s); ended" % self.guest.monitor.status)
                return
            say("stopping (Ctrl-C again to force)")
            self._console_bytes = self.guest.output_bytes
            signal.alarm(SILENT_SECONDS)
            self.guest.interrupt()
        elif now - self._began > BOUNCE_SECONDS:
            self._force("forced")

    def _on_deadline(self, _number, _frame):
        waited = time.monotonic() - self._began
        if self.guest.output_bytes > self._console_bytes and waited < STOPPING_SECONDS:
            signal.alarm(STOPPING_SECONDS - SILENT_SECONDS)
            return
        self._force("the guest did not %s for %.0f s after Ctrl-C; ended" %
                    ("answer" if self.guest.output_bytes == self._console_bytes else "stop", waited))

    def _force(self, why):
        say(why)
        self.forced = True
        self.guest.kill_now()


def supervise(guest):
    stopper = Stopper(guest)
    forward_stdin(guest)
    status = guest.wait()
    if stopper.forced:
        return 128 + signal.SIGINT
    if status == qemu.STATUS_PANIC and "solaster: panic on cpu" in guest.output:
        say("the kernel panicked; its words are above")
    return status


def main():
    args = parse_arguments(sys.argv[1:])
    report.VERBOSE = args.verbose
    if args.build_mode == "sanitize" and not args.host:
        raise UserError("programs built with sanitizers run only with --host")
    if args.cpus is not None and args.cpus < 1:
        raise UserError("--cpus %d: at least one is needed" % args.cpus)
    build.ensure_packages()
    build.ensure_configured([args.build_mode])
    path, product = find_program(args.program, args.build_mode)
    targets = ["build/%s/%s" % (args.build_mode, product)] if product else []
    if not args.host:
        targets.append("build/%s/solaster-kernel.elf" % args.build_mode)
    if not product and not args.host:
        elf.check_static_program(path)
    machine = None if args.host else plan_guest(args, product)
    if targets:
        build.build(targets)
    return run_on_host(args, path, product) if args.host else run_in_guest(args, path, product, machine)


if __name__ == "__main__":
    report.run_main(main)
