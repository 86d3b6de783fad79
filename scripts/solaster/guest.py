"""A running guest: QEMU under supervision, its serial console in our hands."""
import ctypes
import dataclasses
import fcntl
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import cpio, network, qemu
from .cmdline import kernel_command_line
from .qmp import Monitor, MonitorError, lines_of
from .report import MachineError, UserError, detail

PR_SET_PDEATHSIG = 1
CONSOLE_BYTES = 1 << 20
# What QEMU says before it pauses a guest for good, and the run state that it then is in.
INTERNAL_ERROR = re.compile(r"^(KVM internal error|KVM: entry failed|error: kvm run failed|kvm_\w+ failed)")
REGISTERS = re.compile(r"^[A-Z][A-Z0-9]* ?=")
INTERNAL_ERROR_STATUS = "internal-error"
# States in which a guest never goes on by itself, unless a debugger has stopped it.
STUCK_STATUSES = ("paused", "prelaunch", "io-error", "guest-panicked")
STUCK_SECONDS = 2
LAST_WORDS_SECONDS = 0.3  # from QEMU's first line about an internal error to its last
SHARDS_SECONDS = 1  # from one shard's listening to the last one's, at most
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For preexec_fn: the child is killed when we end, however we end."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def pack_program(data, name, files=()):
    """An initrd that holds the program as /name; files: (path in the guest, bytes)."""
    archive = cpio.Archive()
    archive.file(name, data, 0o755)
    for path, content in files:
        archive.file(path, content)
    return archive.bytes()


@dataclasses.dataclass
class Listening:
    """A port on which the guest serves. published: (host address, host port) that lead there. problem: why one does not, or
    not well."""
    proto: str
    address: str
    port: int
    published: list = dataclasses.field(default_factory=list)
    problem: str = ""


class Guest:
    """with Guest(machine, kernel, program, args) as guest: ... ; leaving the block ends QEMU, come what may.

    machine: qemu.Machine. program: bytes of a static ELF, or None for a kernel alone. on_output: called with each piece
    of console output, on_listen with a Listening for each port, both from threads of their own. wrap: words put before QEMU's
    command, such as nsenter.

    A port of a user-mode network is published when the guest says that it listens there: before, a connection is refused
    at once instead of waiting for a guest that cannot answer yet. A guest that QEMU stops in an internal error is ended;
    wait() then raises MachineError.
    """

    def __init__(self, machine, kernel, program=None, args=(), name="program", options=(), files=(), on_output=None,
                 append=None, initrd=None, wrap=(), on_listen=None):
        self.machine, self.kernel = machine, kernel
        self._output = bytearray()
        self._changed = threading.Condition()
        self._on_output, self._on_listen = on_output, on_listen
        self._closed = False
        self.listening = []  # Listening, in the order in which they came
        self.failure = None  # MachineError, once the machine has failed
        self._killed = False  # by us
        self._error_lines = []
        self._shards = {}  # by (protocol, address, port): which shards listen
        self.first_output = None  # when the console's first byte came, to be compared with `started`
        self._initrd = None
        self.process = None
        if program is not None:
            self._initrd = tempfile.NamedTemporaryFile(prefix="solaster-", suffix=".cpio")
            self._initrd.write(pack_program(program, name, files))
            self._initrd.flush()
            initrd = self._initrd.name
            append = kernel_command_line(options, "/" + name, args)
        self._start(initrd, append, list(wrap))

    def _start(self, initrd, append, wrap):
        # Pipes, not a socket: QEMU writes byte by byte and drops what does not fit for long, and a socket counts each
        # byte as hundreds, so that a busy host would lose output.
        inner, self._in = os.pipe()
        self._out, outer = os.pipe()
        try:
            fcntl.fcntl(outer, fcntl.F_SETPIPE_SZ, CONSOLE_BYTES)
        except OSError:
            pass  # the user's pipe quota is used up: 64 KiB will do
        # Sockets with names, not inherited ones: a wrapper around QEMU may pass on no descriptors.
        self._sockets = tempfile.TemporaryDirectory(prefix="solaster-")
        monitor, self._channel = self._listen("qmp"), self._listen("host")
        errors, its_errors = os.pipe()
        self.machine.extra = [*self.machine.extra, "-chardev", "stdio,id=con,signal=off",
                              "-chardev", "socket,id=qmp,path=%s" % monitor.getsockname(), "-mon", "chardev=qmp,mode=control",
                              "-chardev", "socket,id=host,path=%s" % self._channel.getsockname(),
                              "-device", "isa-debugcon,iobase=%#x,chardev=host" % qemu.HOST_CHANNEL_PORT]
        argv = wrap + self.machine.command(self.kernel, initrd, append, "chardev:con")
        detail("starting " + " ".join(argv))
        self.started = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=inner, stdout=outer, stderr=its_errors, start_new_session=True,
                                        preexec_fn=die_with_parent)
        for fd in (inner, outer, its_errors):
            os.close(fd)
        self.monitor = Monitor(monitor, self._on_status)
        self._reader = self._thread(self._read)
        self._error_reader = self._thread(self._read_errors, errors)
        self._channel_reader = self._thread(self._read_channel)

    def _listen(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(self._sockets.name, name))
        s.listen(1)
        return s

    @staticmethod
    def _thread(function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        return thread

    def _read(self):
        while True:
            try:
                data = os.read(self._out, 65536)
            except OSError:
                data = b""
            with self._changed:
                if data and self.first_output is None:
                    self.first_output = time.monotonic()
                self._output += data
                self._closed = self._closed or not data
                self._changed.notify_all()
            if not data:
                return
            if self._on_output:
                self._on_output(data)

    @staticmethod
    def _later(seconds, function):
        timer = threading.Timer(seconds, function)
        timer.daemon = True
        timer.start()

    # ---- the machine

    def _read_errors(self, fd):
        with open(fd, "rb") as stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                self._error_lines.append(line)
                if INTERNAL_ERROR.search(line):
                    # Its registers follow, and a run state. A wrapper around QEMU may know no monitor: not waited for.
                    self._later(LAST_WORDS_SECONDS, self._stopped_in_error)

    def _on_status(self, status):
        if status == INTERNAL_ERROR_STATUS:
            self._later(LAST_WORDS_SECONDS, self._stopped_in_error)
        elif status in STUCK_STATUSES and not self.machine.gdb_port:
            self._later(STUCK_SECONDS, lambda: self.monitor.status == status and self._stopped_in_error())

    def _stopped_in_error(self):
        """QEMU keeps such a guest for a debugger; nobody will come."""
        if self.failure or self.process.poll() is not None:
            return
        self._fail("the guest stopped: " + (self._internal_error() or "QEMU's run state is %s" % self.monitor.status))
        self.kill_now()

    def _internal_error(self):
        """QEMU's own words about it, without the registers; "" when it has said nothing of the kind."""
        lines = [line for line in self._error_lines if line and "warning:" not in line and not REGISTERS.search(line)]
        at = next((i for i, line in enumerate(lines) if INTERNAL_ERROR.search(line)), len(lines))
        return ", ".join(lines[at:at + 2])

    def _fail(self, reason):
        advice = ""
        if self.machine.accel == "kvm":
            advice = "KVM does not run this guest here: use --accel tcg"
            from . import accel  # it boots guests to find out, and needs this file
            accel.remember_failure(reason)
        self.failure = MachineError(reason, advice)

    # ---- what the guest tells the host

    def _read_channel(self):
        with self._channel:
            try:
                connected, _ = self._channel.accept()
            except OSError:
                return
        with connected:
            for line in lines_of(connected):
                match = re.fullmatch(r"listen (tcp|udp) ([\d.]+):(\d+) (\d+)/(\d+)", line.decode(errors="replace"))
                if match:
                    self._shard_listens(match[1], match[2], *map(int, match.groups()[2:]))

    def _shard_listens(self, proto, address, port, shard, shards):
        """The port is served when all shards listen: a connection goes to any of them. Not every program listens on all."""
        key = proto, address, port
        first = key not in self._shards
        listening = self._shards.setdefault(key, set())
        if len(listening) == shards:
            return  # it listens anew: published already
        listening.add(shard)
        if len(listening) == shards:
            self._publish(*key)
        elif first:
            def give_up():
                if len(listening) < shards:
                    listening.update(range(shards))
                    self._publish(*key)
            self._later(SHARDS_SECONDS, give_up)

    def _publish(self, proto, address, port):
        found = Listening(proto, address, port)
        for i, net in enumerate(self.machine.nets):
            if net.kind != "user":
                continue
            wanted = [(a, h) for a, h, g, p in net.publish if (g, p) == (port, proto)]
            if not wanted and net.publish_others:
                wanted = [("127.0.0.1", port)]
            for host_address, host_port in wanted:
                self._forward("net%d" % i, found, host_address, host_port)
        with self._changed:
            self.listening.append(found)
            self._changed.notify_all()
        if self._on_listen:
            self._on_listen(found)

    def _forward(self, netdev, found, host_address, host_port):
        try:
            network.check_port(host_address, host_port, found.proto, found.port)
            trouble = self.monitor.human("hostfwd_add %s %s:%s:%d-%s:%d" % (netdev, found.proto, host_address, host_port,
                                                                         found.address, found.port))
            if trouble:
                raise MonitorError(trouble)
        except (UserError, MonitorError) as error:
            found.problem = str(error)
            return
        found.published.append((host_address, host_port))
        if found.proto == "tcp":
            try:
                network.widen_backlog(self.process.pid, host_address, host_port)
            except (OSError, LookupError) as error:
                found.problem = ("QEMU takes one connection at a time on port %d, and its queue could not be widened (%s): of many "
                                 "clients at once some wait for seconds; use --net tap=NAME for load" % (host_port, error))

    def wait_listening(self, port, timeout=30):
        """Waits until the guest serves the port; returns its Listening."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for found in self.listening:
                    if found.port == port:
                        return found
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    raise AssertionError("the guest does not listen on port %d; its console shows:\n%s%s" %
                                         (port, self.output, self.qemu_errors()))
                self._changed.wait(left)

    # ---- the console

    @property
    def output(self):
        return bytes(self._output).decode(errors="replace")

    @property
    def output_bytes(self):
        return len(self._output)

    def send(self, data):
        try:
            os.write(self._in, data)
        except OSError:
            pass

    def interrupt(self):
        """Ctrl-C at the console: SIGINT for the program."""
        self.send(b"\x03")

    def wait_for(self, pattern, timeout=30):
        """Waits until the console shows the regular expression; returns the match. Raises on the end or the deadline."""
        deadline = time.monotonic() + timeout
        compiled = re.compile(pattern, re.M)
        with self._changed:
            while True:
                match = compiled.search(self.output)
                if match:
                    return match
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    why = "the guest ended" if self._closed else "%g s passed" % timeout
                    raise AssertionError("%s without /%s/ on the console; it shows:\n%s%s" %
                                         (why, pattern, self.output, self.qemu_errors()))
                self._changed.wait(left)

    # ---- the end

    def qemu_errors(self):
        """QEMU's own complaints, without its warnings."""
        lines = [line for line in self._error_lines if line and "warning:" not in line]
        return "\n".join([str(self.failure)] * bool(self.failure) + lines)

    def wait(self, timeout=None):
        """Waits for the end; returns the guest's exit status. Raises subprocess.TimeoutExpired, or MachineError."""
        status = self.process.wait(timeout)
        self._reader.join(5)
        self._error_reader.join(1)
        return self.exit_status(status)

    def exit_status(self, status):
        """The command's exit status for QEMU's: see the table in scripts/README.md."""
        if not self.failure and self._internal_error() and not self._killed:
            self._fail("the guest stopped: " + self._internal_error())
        if self.failure:
            raise self.failure
        errors = self.qemu_errors()
        if -status in (signal.SIGABRT, signal.SIGSEGV, signal.SIGILL, signal.SIGBUS):
            self._fail("QEMU crashed (signal %d)%s" % (-status, ": " + errors.splitlines()[-1] if errors else ""))
            raise self.failure
        if status < 0:
            return 128 - status
        if status == 1 and re.search(r"^%s: " % qemu.BINARY, errors, re.M):
            raise UserError("QEMU could not start the guest: %s" % errors.splitlines()[0].split(": ", 1)[1])
        if status % 2 == 0:
            raise UserError("the guest reset the machine instead of ending (a triple fault?)" if status == 0 else
                            "QEMU ended with status %d: %s" % (status, errors))
        value = (status - 1) // 2
        if value == qemu.STATUS_SIGNAL:
            ended = re.findall(r"program ended (by signal|with status) (\d+)", self.output)
            if ended:
                kind, number = ended[-1]
                return int(number) + (128 if kind == "by signal" else 0)
        return value

    def check_machine(self):
        """Raises MachineError if the machine, not the guest, is why nobody answers (any more)."""
        if self.failure:
            raise self.failure
        try:
            # Not poll(): that says "still there" while another thread is just asking.
            status = self.process.wait(LAST_WORDS_SECONDS + 1)
        except subprocess.TimeoutExpired:
            return
        self._error_reader.join(1)
        try:
            self.exit_status(status)
        except UserError:
            pass

    def stop(self, timeout=10):
        """Ctrl-C, then force after the deadline; returns the exit status."""
        if self.process.poll() is None:
            self.interrupt()
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the guest did not end within %g s of Ctrl-C; its console shows:\n%s" %
                                 (timeout, self.output)) from None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.kill_now()
            self.process.wait()

    def kill_now(self):
        """QEMU and, where its name on PATH is a wrapper's, what that started. Safe in a signal handler."""
        self._killed = True
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self):
        self.kill()
        if self.process:
            self._reader.join(5)
            self._error_reader.join(5)
            self.monitor.close()
            try:
                self._channel.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # QEMU had connected
            self._channel_reader.join(5)
            self._sockets.cleanup()
        for fd in (self._in, self._out):
            os.close(fd)
        self._in = self._out = -1
        if self._initrd:
            self._initrd.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def kernel_path(out):
    path = Path(out) / "solaster-kernel.elf"
    if not path.exists():
        raise UserError("%s is missing; build it with ninja" % path)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
