"""A running guest: QEMU under supervision, its serial console in our hands."""
import ctypes
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

from . import cpio, qemu
from .cmdline import kernel_command_line
from .report import UserError, detail

PR_SET_PDEATHSIG = 1
CONSOLE_BYTES = 1 << 20
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


class Guest:
    """with Guest(machine, kernel, program, args) as guest: ... ; leaving the block ends QEMU, come what may.

    machine: qemu.Machine. program: bytes of a static ELF, or None for a kernel alone. on_output: called with each piece
    of console output, from a thread of its own. wrap: words put before QEMU's command, such as nsenter.
    """

    def __init__(self, machine, kernel, program=None, args=(), name="program", options=(), files=(), on_output=None,
                 append=None, initrd=None, wrap=()):
        self.machine, self.kernel = machine, kernel
        self._output = bytearray()
        self._changed = threading.Condition()
        self._on_output = on_output
        self._closed = False
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
        self.machine.extra = [*self.machine.extra, "-chardev", "stdio,id=con,signal=off"]
        argv = wrap + self.machine.command(self.kernel, initrd, append, "chardev:con")
        detail("starting " + " ".join(argv))
        self._stderr = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=inner, stdout=outer, stderr=self._stderr, start_new_session=True,
                                        preexec_fn=die_with_parent)
        os.close(inner)
        os.close(outer)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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

    # ---- the console

    @property
    def output(self):
        return bytes(self._output).decode(errors="replace")

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
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace")
        return "\n".join(line for line in text.splitlines() if line and "warning:" not in line)

    def wait(self, timeout=None):
        """Waits for the end; returns the guest's exit status. Raises subprocess.TimeoutExpired."""
        status = self.process.wait(timeout)
        self._reader.join(5)
        return self.exit_status(status)

    def exit_status(self, status):
        """The command's exit status for QEMU's: see the table in scripts/README.md."""
        errors = self.qemu_errors()
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
            self.process.kill()
            self.process.wait()

    def close(self):
        self.kill()
        if self.process:
            self._reader.join(5)
        for fd in (self._in, self._out):
            os.close(fd)
        self._in = self._out = -1
        self._stderr.close()
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
