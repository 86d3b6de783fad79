"""Clients that ask for far more than they read, beside one that asks for little: every answer right, memory bounded.

The sizes here run in seconds. SOLASTER_TEST_FULL=1 runs the full ones: 30,000 values for each of 20 clients.
"""
import os
import select
import time

import memcached_server as mc
from solaster.testing import guest_test, host_test

MIB = 1 << 20
CLIENTS = 20
FULL = bool(os.environ.get("SOLASTER_TEST_FULL"))
TIMEOUT = 1800 if FULL else 150
GROWTH_MAX = 24 * MIB      # of the process while all of them wait for the rest: 20 times two pieces, and the rest of the program
LEFT_OVER_MAX = 12 * MIB   # when they are done
OUT_OF_MEMORY = b"SERVER_ERROR out of memory"
MINE = b"VALUE mine 0 7\r\nmy own.\r\nEND\r\n"


class SlowReader:
    """Asks for its own key `count` times in one line; read() takes a little and checks it."""

    def __init__(self, server, name, size, count, may_be_evicted=False):
        self.may_be_evicted = may_be_evicted
        value = bytes([97 + len(name) % 26, *name]) * (size // (len(name) + 1) + 1)
        with server.connect() as s:
            s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (name, size, value[:size]))
            assert mc.read_until(s, b"\r\n") == b"STORED\r\n"
        unit = b"VALUE %s 0 %d\r\n%s\r\n" % (name, size, value[:size])
        self.unit_size, self.left = len(unit), len(unit) * count
        self.pattern = memoryview(unit * ((128 << 10) // len(unit) + 2))
        self.at = 0        # bytes of the values that came
        self.tail = b""    # what came behind them
        self.request = b"get" + (b" " + name) * count + b"\r\n"
        self.socket = server.connect()
        self.socket.setblocking(False)

    def send(self):
        while self.request and select.select([], [self.socket], [], 0)[1]:
            self.request = self.request[self.socket.send(self.request):]

    def read(self, limit):
        """False when all has come."""
        try:
            data = memoryview(self.socket.recv(limit))
        except BlockingIOError:
            return True
        assert len(data), "cut off after %d bytes, %r" % (self.at, self.tail)
        start = self.at % self.unit_size
        n = 0 if self.tail else min(len(data), self.left)
        while n and data[:n] != self.pattern[start:start + n]:  # an error somewhere in it: up to which value is it right?
            n = max(0, (start + n - 1) // self.unit_size * self.unit_size - start)
        self.at += n
        self.left -= n
        self.tail += data[n:]
        if self.tail and self.left:  # an error may stand in place of a value, nothing else
            assert self.at % self.unit_size == 0, bytes(self.tail[:80])
            ends = (OUT_OF_MEMORY, b"END\r\n") if self.may_be_evicted else (OUT_OF_MEMORY,)
            assert any(self.tail.startswith(e[:len(self.tail)]) for e in ends), bytes(self.tail[:80])
        return not self.tail.endswith(b"\r\n")


def read_slowly(server, count, size=8000, step=64 << 10, clients=CLIENTS, may_be_evicted=False):
    """(the most memory the server took, how many clients got an error or END in place of values).

    may_be_evicted: the cache may have to make room for the answers; then a key may be gone.
    """
    mine_or_not = (MINE, b"END\r\n") if may_be_evicted else (MINE,)
    assert server.ask(b"set mine 0 0 7\r\nmy own.\r\n") == b"STORED\r\n"
    readers = [SlowReader(server, b"s%d" % i, size, count, may_be_evicted) for i in range(clients)]
    most = 0
    mine = server.connect()
    for r in readers:
        r.send()
    time.sleep(0.5)  # nobody reads: whatever the server would gather for them, it has gathered now
    waiting = list(readers)
    while waiting:
        mine.sendall(b"get mine\r\n")
        answer = mc.read_until(mine, b"END\r\n")
        assert answer in mine_or_not, answer[:100]
        most = max(most, server.memory())
        select.select([r.socket for r in waiting], [], [], 1)
        for r in waiting[:]:
            r.send()
            if not r.read(step):
                waiting.remove(r)
    failed = [r for r in readers if r.left]
    for r in readers:
        r.socket.setblocking(True)
        r.socket.sendall(b"get mine\r\n")  # each is still served
        assert mc.read_until(r.socket, b"END\r\n") in mine_or_not
        r.socket.close()
    mine.close()
    return most, len(failed)


def in_process(ctx, args, count, **kwargs):
    with mc.process(ctx, ["--memory", "256M", *args], **kwargs) as server:
        server.check_alive()
        before = server.memory()
        most, failed = read_slowly(server, count)
        assert failed == 0, "%d clients got an error" % failed
        server.check_alive()
        left = server.memory() - before
        if ctx.mode == "sanitize":
            return  # which keeps what is freed for a while
        assert most - before < GROWTH_MAX, "grew by %d MiB" % ((most - before) // MIB)
        # Our own TCP keeps the buffers that it has made.
        assert left < LEFT_OVER_MAX or "stack" in kwargs, "%d MiB did not come back" % (left // MIB)


@host_test(timeout=TIMEOUT)
def test_20_slow_readers_of_a_process(ctx):
    in_process(ctx, [], 30_000 if FULL else 4000)


@host_test(timeout=TIMEOUT)
def test_20_slow_readers_of_a_process_with_3_shards(ctx):
    in_process(ctx, ["--smp", "3"], 30_000 if FULL else 2000)


@host_test(timeout=TIMEOUT)
def test_20_slow_readers_over_the_native_stack(ctx):
    in_process(ctx, [], 30_000 if FULL else 1000, stack="native")


@guest_test(machines=("microvm",), timeout=TIMEOUT)
def test_20_slow_readers_of_a_guest_of_64_MiB(ctx):
    with mc.guest(ctx, memory="64M") as server:
        _, failed = read_slowly(server, 30_000 if FULL else 500)
        assert failed == 0, "%d clients got an error" % failed
        server.check_alive()


@guest_test(machines=("microvm",), timeout=TIMEOUT)
def test_answers_that_fill_a_guest_of_64_MiB_become_errors(ctx):
    """Small values are copied, and 600 connections that do not read hold more of them than there is room for."""
    with mc.guest(ctx, ["-M"], memory="64M") as server:  # -M: the cache gives nothing back
        _, failed = read_slowly(server, 300, size=1000, clients=600)
        assert failed > 0, "this was to be more than there is room for"
        server.check_alive()


@guest_test(machines=("microvm",), timeout=TIMEOUT)
def test_the_cache_makes_room_for_answers_in_a_guest_of_64_MiB(ctx):
    with mc.guest(ctx, memory="64M") as server:
        read_slowly(server, 3000, size=1000, clients=60, may_be_evicted=True)
        server.check_alive()


@host_test(timeout=60)
def test_memory_that_connections_have_taken_is_served_from_again_when_they_are_gone(ctx):
    """Values that do not come and answers that nobody reads, more of both than a shard of 8 MiB holds."""
    with mc.process(ctx, ["--smp", "1", "--memory", "8M", "-c", "3000"]) as server:
        assert server.ask(b"set v 0 0 1000\r\n%s\r\n" % (b"v" * 1000)) == b"STORED\r\n"
        held = []
        for i in range(2000):
            s = server.connect()
            s.sendall(b"set k%d 0 0 2000\r\nhalf" % i if i % 2 else b"get" + b" v" * 3000 + b"\r\n")
            held.append(s)
        for s in held:
            mc.reset(s)
        server.check_alive()
        assert server.running.output.count("cannot accept") < 30, "a line for each of them:\n" + server.running.output[:2000]
