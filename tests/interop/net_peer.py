"""The Linux side of the network tests: starts tests/tools/net_echo in each of its hosts and talks to it."""
import contextlib
import os
import random
import re
import socket
import struct
import time
import zlib

LINUX, SERVER = "10.9.0.1", "10.9.0.2"
ADDRESS_OPTIONS = ["--host-ipv4-addr", SERVER, "--netmask-ipv4-addr", "255.255.255.0", "--gw-ipv4-addr", LINUX]
STATISTICS = ["--logger-log-level", "stats=debug"]
PROGRAM = "tests/tools/net_echo"
ECHO, SINK, SOURCE, SILENT = 7, 9, 19, 10


class Server:
    """running: the Process or Guest; address; ports: port of the server -> port to talk to."""

    def __init__(self, ctx, running, address=SERVER, ports=None):
        self.ctx, self.running, self.address = ctx, running, address
        self.ports = ports or {}

    def connect(self, port, timeout=20):
        s = self.ctx.connect(self.ports.get(port, port), self.address, timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    @property
    def mac(self):
        text = self.running.wait_for(r"native - .*?, ((?:[0-9a-f]{2}:){5}[0-9a-f]{2}),")[1]
        return bytes.fromhex(text.replace(":", ""))

    def memory(self):
        with open("/proc/%d/status" % self.running.process.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))

    def stop(self):
        """Ends it; returns {"queue": {n: {...}}, "stack": {n: {...}}} of what it counted."""
        status = self.running.stop()
        assert status == 0, (status, self.running.output[-2000:])
        counts = {"queue": {}, "stack": {}}
        for kind, number, rest in re.findall(r"stats - (queue|stack) (\d+): (received.*)", self.running.output):
            words = {}
            for count, what in re.findall(r"(\d+) (packets|dropped|kicks|bytes copied|device errors|retransmitted)", rest):
                words.setdefault(what, []).append(int(count))
            for what, count in re.findall(r"(received|sent|handed over|taken in|sent abroad) (\d+)", rest):
                words[what] = int(count)
            counts[kind][int(number)] = words
        return counts


@contextlib.contextmanager
def on_tap(ctx, shards=1, queues=1, rss=False, args=()):
    """The server on a tap in the case's own network: in a guest if the case has one, else as a process."""
    ctx.own_network()
    ctx.tap("tap0", LINUX + "/24", queues=queues)
    args = [*ADDRESS_OPTIONS, *STATISTICS, *args]
    if ctx.machine:
        running = ctx.guest(PROGRAM, args, net="tap", tap="tap0", queues=queues, rss=rss, cpus=shards)
    else:
        running = ctx.process(PROGRAM, ["--smp", shards, "--memory", "256M", "--network-stack", "native", "--tap", "tap0", *args])
    with running:
        running.wait_for("net_echo - ready", timeout=60)
        yield Server(ctx, running)


@contextlib.contextmanager
def on_user_network(ctx, shards=1):
    with ctx.guest(PROGRAM, STATISTICS, publish=[ECHO, SINK, SOURCE], cpus=shards) as guest:
        guest.wait_for("net_echo - ready", timeout=60)
        yield Server(ctx, guest, "127.0.0.1", guest.ports)


# ---------------------------------------------------------------- talking

def check_echo(server, connections=10, rounds=20, pause=0):
    """pause: seconds between connections; QEMU's user-mode network has a backlog of one."""
    sockets = []
    for _ in range(connections):
        sockets.append(server.connect(ECHO))
        time.sleep(pause)
    for j in range(rounds):
        for i, s in enumerate(sockets):
            s.sendall(b"connection %d round %d" % (i, j))
        for i, s in enumerate(sockets):
            want = b"connection %d round %d" % (i, j)
            got = read_exactly(s, len(want))
            assert got == want, (got, want)
    for s in sockets:
        s.close()


def read_exactly(s, n):
    out = bytearray()
    while len(out) < n:
        data = s.recv(n - len(out))
        assert data, "the connection ended after %d of %d bytes" % (len(out), n)
        out += data
    return bytes(out)


def read_all(s):
    out = []
    while data := s.recv(1 << 20):
        out.append(data)
    return b"".join(out)


def send_bulk(server, megabytes, timeout=280):
    """Sends that much to the server and compares what it says it got."""
    block = random.Random(7).randbytes(1 << 20)
    crc = 0
    with server.connect(SINK, timeout) as s:
        s.settimeout(timeout)
        for i in range(megabytes):
            struct.pack_into("<Q", block := bytearray(block), 0, i)
            s.sendall(block)
            crc = zlib.crc32(block, crc)
        s.shutdown(socket.SHUT_WR)
        answer = read_all(s).decode()
    want = "%d %08x\n" % (megabytes << 20, crc)
    assert answer == want, (answer, want)


def pattern_crc(size):
    block = bytearray(i * 2654435761 >> 16 & 0xff for i in range(65536))
    crc, number = 0, 0
    while size:
        n = min(size, 65536)
        struct.pack_into("<Q", block, 0, number)
        crc = zlib.crc32(memoryview(block)[:n], crc)
        size -= n
        number += 1
    return crc


def receive_bulk(server, megabytes, timeout=280):
    """Has the server send that much and checks it."""
    size = megabytes << 20
    crc, got = 0, 0
    with server.connect(SOURCE, timeout) as s:
        s.settimeout(timeout)
        s.sendall(b"%d\n" % size)
        while data := s.recv(1 << 20):
            crc = zlib.crc32(data, crc)
            got += len(data)
    assert got == size, (got, size)
    assert crc == pattern_crc(size)


def check_udp(server, sizes=(0, 1, 100, 1400)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        for size in sizes:
            s.sendto(b"u" * size, (server.address, ECHO))
            got, sender = s.recvfrom(65536)
            assert got == b"u" * size and sender == (server.address, ECHO), (size, len(got), sender)


def internet_checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def check_ping(server, sizes=(0, 1, 56, 1400)):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(5)
        for number, size in enumerate(sizes):
            body = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xffff, number) + b"p" * size
            body = body[:2] + struct.pack("!H", internet_checksum(body)) + body[4:]
            s.sendto(body, (server.address, 0))
            while True:
                got = s.recv(65536)[20:]
                if got[0] == 0:
                    break
            assert got[4:] == body[4:], (size, got[:16])


# ---------------------------------------------------------------- frames by hand

class Wire:
    """Raw frames onto the server's cable."""

    def __init__(self, server, device="tap0"):
        self.server_mac = server.mac
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((device, 0))
        self.mac = bytes.fromhex("020000000077")

    def send(self, frame):
        try:
            self.socket.send(frame)
        except OSError:
            pass  # longer than the device takes, or shorter than a header: the kernel keeps it

    def ethernet(self, payload, ethertype=0x0800):
        return self.server_mac + self.mac + struct.pack("!H", ethertype) + payload

    @staticmethod
    def ipv4(payload, protocol=6, source=LINUX, destination=SERVER, length=None, header_words=5, version=4, fragment=0,
             checksum=None):
        head = struct.pack("!BBHHHBBH4s4s", version << 4 | header_words, 0, 20 + len(payload) if length is None else length,
                           random.randrange(65536), fragment, 64, protocol, 0, socket.inet_aton(source),
                           socket.inet_aton(destination))
        value = internet_checksum(head) if checksum is None else checksum
        return head[:10] + struct.pack("!H", value) + head[12:] + payload

    @staticmethod
    def tcp(source_port, port, flags=2, seq=None, ack=0, payload=b"", offset_words=5, source=LINUX, destination=SERVER,
            options=b"", checksum=None):
        seq = random.randrange(1 << 32) if seq is None else seq
        head = struct.pack("!HHIIBBHHH", source_port, port, seq, ack, offset_words << 4, flags, 64240, 0, 0) + options + payload
        pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, 6, len(head))
        value = internet_checksum(pseudo + head) if checksum is None else checksum
        return head[:16] + struct.pack("!H", value) + head[18:]


def wait_until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
