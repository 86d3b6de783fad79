"""Starts memcached for a test in each of its hosts and speaks a little of its protocol."""
import contextlib
import os
import socket

from solaster.guest import free_port

GUEST = "10.9.0.2"
ADDRESS_OPTIONS = ["--dhcp", "0", "--host-ipv4-addr", GUEST, "--netmask-ipv4-addr", "255.255.255.0", "--gw-ipv4-addr",
                   "10.9.0.1"]


class Server:
    """address, port; pid of the Linux process that is or holds the server; running is the Process or Guest."""

    def __init__(self, ctx, address, port, running):
        self.ctx, self.address, self.port, self.running = ctx, address, port, running
        self.pid = running.process.pid

    def connect(self, timeout=20):
        return self.ctx.connect(self.port, self.address, timeout)

    def ask(self, request, timeout=20):
        """Sends the bytes and `quit`, returns all that came back."""
        with self.connect(timeout) as s:
            s.sendall(request + b"quit\r\n")
            return read_all(s)

    def check_alive(self):
        key = os.urandom(6).hex().encode()
        answer = self.ask(b"set %s 3 0 5\r\nalive\r\nget %s\r\n" % (key, key))
        assert answer == b"STORED\r\nVALUE %s 3 5\r\nalive\r\nEND\r\n" % key, answer

    def memory(self):
        """Resident bytes of the process (of QEMU, for a guest: bounded by the guest's memory)."""
        with open("/proc/%d/status" % self.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def read_all(s):
    out = []
    while data := s.recv(65536):
        out.append(data)
    return b"".join(out)


def read_until(s, end, limit=1 << 24):
    out = bytearray()
    while not out.endswith(end):
        data = s.recv(65536)
        if not data or len(out) > limit:
            raise AssertionError("the connection ended, or too much came, before %r: %r" % (end, bytes(out[-200:])))
        out += data
    return bytes(out)


@contextlib.contextmanager
def process(ctx, args=(), stack="posix"):
    """memcached as a Linux process: on loopback, or (stack="native") on a tap in a network of the test's own."""
    port = free_port()
    program = os.environ.get("SOLASTER_TEST_MEMCACHED", "memcached")  # another server, to test the tests
    if stack == "native":
        ctx.own_network()
        ctx.tap("tap0", "10.9.0.1/24")
        words, address = ["--network-stack", "native", "--tap", "tap0", *ADDRESS_OPTIONS], GUEST
    else:
        words, address = ["-l", "127.0.0.1"], "127.0.0.1"
    with ctx.process(program, [*words, "-p", str(port), *args]) as running:
        server = Server(ctx, address, port, running)
        server.connect().close()
        yield server
        assert running.process.poll() is None, "memcached ended:\n" + running.output
        status = running.stop()
        assert status == 0, "status %s after SIGINT:\n%s" % (status, running.output)


@contextlib.contextmanager
def guest(ctx, args=(), net="tap", memory="128M", **kwargs):
    """memcached as a unikernel: on a tap in a network of the test's own, or over user-mode networking."""
    if net == "tap":
        ctx.own_network()
        ctx.tap("tap0", "10.9.0.1/24")
        running = ctx.guest("memcached", [*ADDRESS_OPTIONS, *args], net="tap", tap="tap0", memory=memory, **kwargs)
        address, port = GUEST, 11211
    else:
        running = ctx.guest("memcached", args, publish=[11211], memory=memory, **kwargs)
        address, port = "127.0.0.1", running.ports[11211]
    with running:
        server = Server(ctx, address, port, running)
        server.ask(b"version\r\n", 40)
        yield server
        assert running.process.poll() is None, "the guest ended:\n" + running.output
        status = running.stop()
        assert status == 0, "status %s after Ctrl-C:\n%s" % (status, running.output)


@contextlib.contextmanager
def anywhere(ctx, args=(), **kwargs):
    """A guest when the case has a machine, else a process."""
    with (guest if ctx.machine else process)(ctx, args, **kwargs) as server:
        yield server


def reset(s):
    """Closes with a reset instead of a FIN."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
