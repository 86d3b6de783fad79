"""What the Python tests in tests/interop and tests/guest are written with. A test file looks like this:

    from solaster.testing import Skip, guest_test, host_test

    @host_test()                          # runs in release and sanitize, no guest
    def test_something(ctx): ...

    @guest_test(cpus=(1, 2, 4))           # once for each machine and number of CPUs, in release
    def test_other(ctx):
        with ctx.guest("memcached", ["-m", "64"], publish=[11211]) as guest:
            guest.wait_for("ready")
            ctx.connect(guest.ports[11211]) ...

Each case runs in a process of its own with a deadline; it fails by an exception (plain assert will do) and skips by
raising Skip(reason). Helper functions must not be named test_*.
"""
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import build, elf, network, qemu
from .guest import Guest, die_with_parent, free_port, kernel_path


class Skip(Exception):
    """This machine cannot run the case; the reason is printed."""


def host_test(modes=("release", "sanitize"), timeout=60):
    """A case without a guest. modes: the build modes it runs in."""
    def mark(function):
        function.solaster = {"modes": modes, "timeout": timeout, "guests": [None]}
        return function
    return mark


def guest_test(machines=("microvm", "q35"), cpus=(1,), modes=("release",), timeout=60, guests=None):
    """A case with a guest, once for each (machine, CPUs). guests: the list of pairs, instead of all combinations.

    In debug mode (name it in modes) only the first combination runs.
    """
    def mark(function):
        function.solaster = {"modes": modes, "timeout": timeout,
                             "guests": guests or [(m, c) for m in machines for c in cpus]}
        return function
    return mark


class Context:
    """What a case is given: where the products are, and ways to start them that clean up after themselves."""

    def __init__(self, mode="release", machine=None, cpus=1):
        self.mode, self.machine, self.cpus = mode, machine, cpus
        self.out = build.out(mode)
        self.root = build.ROOT
        self._folder = None

    @property
    def folder(self):
        """A temporary folder, gone after the case."""
        if not self._folder:
            self._folder = tempfile.TemporaryDirectory(prefix="solaster-test-")
        return Path(self._folder.name)

    def program(self, name):
        """Path of a product: "memcached", "demos/echo", "tests/tools/relay"."""
        path = self.out / name
        if not path.exists():
            raise AssertionError("%s is not built" % path)
        return path

    def guest(self, program, args=(), publish=(), net="user", tap="", queues=1, rss=False, memory="256M", machine=None,
              cpus=None, options=(), env=(), files=(), rng=False, nets=None, wrap=()):
        """Boots a product (or a path) in a guest and returns it as a solaster.guest.Guest, to be used with `with`.

        publish: guest TCP ports; guest.ports maps each to a free port of 127.0.0.1. net: "user", "tap" (with tap=NAME,
        queues, rss) or "none"; nets: qemu.Net objects instead. options: kernel options "key=value".
        """
        path = Path(program)
        path = path if path.is_absolute() else self.program(program)
        ports = {port: free_port() for port in publish}
        if nets is None:
            nets = {"none": [], "tap": [qemu.Net("tap", tap=tap, queues=queues, rss=rss)],
                    "user": [qemu.Net("user", publish=[("127.0.0.1", h, g, "tcp") for g, h in ports.items()])]}[net]
        vm = qemu.Machine(machine=machine or self.machine or "microvm", cpus=cpus or self.cpus, memory=memory,
                          accel=qemu.choose_accel(os.environ.get("SOLASTER_ACCEL", "auto")), nets=nets, rng=rng)
        guest = Guest(vm, kernel_path(self.out), elf.check_static_program(path), args, name=path.name,
                      options=[*options, *("env=" + e for e in env)], files=files, wrap=wrap)
        guest.ports = ports
        return guest

    def process(self, program, args=(), wrap=(), **kwargs):
        """Starts a product (or a path, or a command on PATH) as a Linux process; use it with `with`."""
        path = self.out / program if (self.out / program).exists() else program
        return Process([*wrap, str(path), *map(str, args)], **kwargs)

    def run(self, program, args=(), timeout=60, wrap=()):
        """Runs a product to its end; returns the subprocess.CompletedProcess (text)."""
        path = self.out / program if (self.out / program).exists() else program
        return subprocess.run([*wrap, str(path), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                              preexec_fn=die_with_parent)

    def own_network(self):
        """Moves the case into a network namespace of its own (loopback up), or skips."""
        if not network.can_enter_namespace():
            raise Skip("no right to make a network namespace")
        network.enter_namespace()

    def tap(self, name="tap0", address="10.9.0.1/24", queues=1, mtu=None):
        """A tap in the case's own network; call own_network() first."""
        if not os.path.exists("/dev/net/tun"):
            raise Skip("no /dev/net/tun")
        return network.make_tap(name, address, queues, mtu)

    def connect(self, port, host="127.0.0.1", timeout=20):
        """A TCP connection, tried again until the deadline while it is refused."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                s = socket.create_connection((host, port), max(0.1, deadline - time.monotonic()))
                s.settimeout(timeout)
                return s
            except (ConnectionError, socket.timeout, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def need(self, command):
        """Skips unless the command is installed; returns its path."""
        path = shutil.which(command)
        if not path:
            raise Skip("%s is not installed" % command)
        return path

    def close(self):
        if self._folder:
            self._folder.cleanup()


class Process:
    """A Linux process whose output (both streams) is collected; ends when the block is left."""

    def __init__(self, argv, **kwargs):
        self._file = tempfile.TemporaryFile()
        self.argv = argv
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file,
                                        preexec_fn=die_with_parent, **kwargs)

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, pattern, timeout=30):
        import re
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            match = re.search(pattern, self.output, re.M)
            if match:
                return match
            if ended or time.monotonic() > deadline:
                raise AssertionError("%s without /%s/; output:\n%s" % (
                    "it ended with status %s" % self.process.returncode if ended else "%g s passed" % timeout,
                    pattern, self.output))
            time.sleep(0.02)

    def wait(self, timeout=None):
        return self.process.wait(timeout)

    def interrupt(self):
        import signal
        self.process.send_signal(signal.SIGINT)

    def stop(self, timeout=10):
        """SIGINT, then the exit status; fails when it does not end."""
        if self.process.poll() is None:
            self.interrupt()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s did not end within %g s of SIGINT; output:\n%s" %
                                 (self.argv[0], timeout, self.output)) from None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()
