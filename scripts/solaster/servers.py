"""The five servers of the memcached comparison, each started the same way and asked the same things."""
import contextlib
import os
import subprocess
import tempfile
import time

from . import build, elf, measure, network, peers, qemu
from .cmdline import kernel_command_line, quote
from .guest import Guest, die_with_parent, kernel_path, pack_program
from .report import UserError

PORT = 11211
TAP, TAP_ADDRESS, GUEST_ADDRESS, NETMASK = "tap0", "10.9.0.1", "10.9.0.2", "255.255.255.0"
MAC = "52:54:00:12:34:56"
STOCK_THREADS = (1, 2, 4)


# A Linux guest without needless handicaps: no mitigations, and the time-stamp counter as its clock, which it distrusts under
# emulation (the fall-back is a device: an exit for each reading). Its console names the clock that it took.
LINUX_TUNING = "mitigations=off tsc=reliable clocksource=tsc"


class Settings:
    """What all servers of one comparison share."""

    def __init__(self, cpus=1, memory="256M", accel="tcg", cache_mib=64, mode="release"):
        self.cpus, self.memory, self.accel, self.cache_mib, self.mode = cpus, memory, accel, cache_mib, mode


class Running:
    """A started server: where it listens, its process, and how long it took to answer."""

    def __init__(self, address, pid, boot_ms, output):
        self.address, self.pid, self.boot_ms, self.output = address, pid, boot_ms, output

    def seconds(self):
        return measure.thread_seconds(self.pid), measure.process_seconds(self.pid)

    def peak_memory(self):
        return measure.peak_memory(self.pid)


class Row:
    """One server on one host. start() is a context manager that gives a Running.

    threads: of the server; thread_choices: what may be best for it, tried by the comparison.
    """
    name = server = host = ""

    def __init__(self, settings):
        self.settings = settings
        self.threads = settings.cpus

    @property
    def thread_choices(self):
        return sorted({*STOCK_THREADS, self.settings.cpus}) if self.server == "stock" else [self.settings.cpus]

    @property
    def is_guest(self):
        return self.host != "process"

    @contextlib.contextmanager
    def _guest(self, extra, **kwargs):
        s = self.settings
        vm = qemu.Machine(machine="q35", accel=s.accel, cpus=s.cpus, memory=s.memory, extra=list(extra),
                          nets=[qemu.Net("tap", tap=TAP, queues=s.cpus, rss=s.cpus > 1, mac=MAC)])
        vm.extra += ["-name", "guest,debug-threads=on"]
        with Guest(vm, **kwargs) as guest:
            try:
                boot = measure.wait_first_answer(GUEST_ADDRESS, PORT, guest.started,
                                                 lambda: guest.process.poll() is None)
            except UserError as error:
                guest.check_machine()
                raise UserError("(%s) %s on %s: %s; its console ends with: %s %s" % (
                    self.name, self.server, self.host, error, guest.output[-500:].strip(), guest.qemu_errors())) from None
            try:
                yield Running(GUEST_ADDRESS, guest.process.pid, boot, lambda: guest.output)
            except UserError:
                guest.check_machine()  # the same would happen to the next row: not this one's fault
                raise

    @contextlib.contextmanager
    def _process(self, command, env=None):
        with tempfile.TemporaryFile() as log:
            started = time.monotonic()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       preexec_fn=die_with_parent, env=dict(os.environ, **(env or {})))

            def output():
                return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")
            try:
                boot = measure.wait_first_answer("127.0.0.1", PORT, started, lambda: process.poll() is None)
                yield Running("127.0.0.1", process.pid, boot, output)
            except UserError as error:
                raise UserError("(%s) %s: %s; it says: %s" % (self.name, command[0], error, output()[-500:].strip())) from None
            finally:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def _linux_guest(self, program, command, extra):
        data = peers.initrd(program, "memcached", command, GUEST_ADDRESS + "/24")
        with tempfile.NamedTemporaryFile(prefix="solaster-", suffix=".cpio") as initrd:
            initrd.write(data)
            initrd.flush()
            with self._guest(extra, kernel=peers.linux_kernel(), initrd=initrd.name,
                             append="console=ttyS0 quiet loglevel=3 panic=-1 " + LINUX_TUNING) as running:
                yield running

    def _own(self):
        path = build.out(self.settings.mode) / "memcached"
        if not path.exists():
            raise UserError("%s is not built" % path)
        return path

    def _stock_options(self):
        return ["-u", "root", "-t", str(self.threads), "-m", str(self.settings.cache_mib), "-c", "4096", "-p", str(PORT)]

    def _own_options(self):
        return ["-m", str(self.settings.cache_mib), "-c", "4096", "-p", str(PORT), "--smp", str(self.settings.cpus)]


class StockInLinux(Row):
    name, server, host = "a", "stock", "linux-guest"

    def start(self, extra=()):
        return self._linux_guest(peers.memcached_path(), " ".join(["/bin/memcached", "-l", "0.0.0.0", *self._stock_options()]),
                                 extra)


class OursInLinux(Row):
    name, server, host = "b", "solaster", "linux-guest"

    def start(self, extra=()):
        words = ["/bin/memcached", "--network-stack", "posix", *self._own_options()]
        return self._linux_guest(self._own(), " ".join(map(quote, words)), extra)


class OursInUnikernel(Row):
    name, server, host = "c", "solaster", "unikernel"

    @contextlib.contextmanager
    def start(self, extra=()):
        args = ["--dhcp", "0", "--host-ipv4-addr", GUEST_ADDRESS, "--netmask-ipv4-addr", NETMASK, "--gw-ipv4-addr",
                TAP_ADDRESS, *self._own_options()]
        with tempfile.NamedTemporaryFile(prefix="solaster-", suffix=".cpio") as initrd:
            initrd.write(pack_program(elf.check_static_program(self._own()), "memcached"))
            initrd.flush()
            with self._guest(extra, kernel=kernel_path(build.out(self.settings.mode)), initrd=initrd.name,
                             append=kernel_command_line([], "/memcached", args)) as running:
                yield running


class StockProcess(Row):
    name, server, host = "d", "stock", "process"

    def start(self, extra=()):
        return self._process([str(peers.memcached_path()), "-l", "127.0.0.1", *self._stock_options()],
                             peers.memcached_environment())


class OursProcess(Row):
    name, server, host = "e", "solaster", "process"

    def start(self, extra=()):
        return self._process([str(self._own()), "-l", "127.0.0.1", *self._own_options()])


ROWS = {row.name: row for row in (StockInLinux, OursInLinux, OursInUnikernel, StockProcess, OursProcess)}


def make_network(cpus):
    """The tap that all guests use in turn, in a network namespace of this process's own."""
    network.enter_namespace()
    network.make_tap(TAP, TAP_ADDRESS + "/24", queues=cpus)
    # Known in advance, so that the time to the first answer holds no ARP retry of ours.
    network.ip("neigh", "replace", GUEST_ADDRESS, "lladdr", MAC, "dev", TAP, "nud", "permanent")


