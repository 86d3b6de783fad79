"""memcached against other people's clients, in a guest and as a process: what Debian's memcached passes, ours must pass."""
import struct
import subprocess
import sys

import memcached_server as mc
from solaster.testing import Skip, guest_test, host_test

# memccapable's tests of the classic text protocol that Debian's memcached 1.6.18 passes.
MEMCCAPABLE_SECONDS = 60


def memccapable(ctx, server):
    tool = ctx.need("memccapable")
    result = subprocess.run([tool, "-h", server.address, "-p", str(server.port), "-a", "-t", "20"], capture_output=True,
                            text=True, timeout=MEMCCAPABLE_SECONDS)
    text = result.stdout + result.stderr
    assert result.returncode == 0 and "FAIL" not in text and text.count("[pass]") >= 20, text


def pymemcache(server):
    sys.path.append("/usr/lib/python3/dist-packages")  # where Debian puts it, should this be another Python
    try:
        from pymemcache.client.base import Client
        from pymemcache.exceptions import MemcacheClientError
    except ImportError:
        raise Skip("python3-pymemcache is not installed") from None
    client = Client((server.address, server.port), connect_timeout=20, timeout=20)
    client.flush_all()
    assert client.set("a", b"1") and client.get("a") == b"1"
    assert client.add("a", b"2", noreply=False) is False
    assert client.add("b", b"2", noreply=False) is True
    assert client.replace("nope", b"x", noreply=False) is False
    assert client.append("b", b"3", noreply=False) and client.prepend("b", b"1", noreply=False)
    assert client.get("b") == b"123"
    value, cas = client.gets("b")
    assert value == b"123" and client.cas("b", b"9", cas, noreply=False) is True
    assert client.cas("b", b"10", cas, noreply=False) is False
    assert client.cas("nope", b"10", b"1", noreply=False) is None
    assert client.incr("b", 3) == 12 and client.decr("b", 100) == 0 and client.incr("nope", 1) is None
    assert client.set_many({"k%d" % i: b"v%d" % i for i in range(300)}, noreply=False) == []
    assert client.get_many(["k%d" % i for i in range(0, 300, 7)]) == {"k%d" % i: b"v%d" % i for i in range(0, 300, 7)}
    many = ["none%d" % i for i in range(10_000)] + ["k%d" % i for i in range(300)]  # a line of 100 KB
    assert client.get_many(many) == {"k%d" % i: b"v%d" % i for i in range(300)}
    assert client.touch("a", 100, noreply=False) and client.delete("a", noreply=False) and client.get("a") is None
    assert client.set("gone", b"x", expire=-1, noreply=False) and client.get("gone") is None
    big = bytes(range(256)) * 4000
    assert client.set("big", big, noreply=False) and client.get("big") == big
    try:
        client.set("huge", b"x" * (1 << 20), noreply=False)
    except MemcacheClientError:
        pass
    except Exception as error:
        assert "too large" in str(error), error
    else:
        raise AssertionError("a value of 1 MiB with its key was stored")
    assert client.version() and b"pid" in client.stats()
    assert client.flush_all() and client.get("b") is None
    client.close()


@host_test(timeout=100)
def test_memccapable_passes_against_the_process(ctx):
    with mc.process(ctx) as server:
        memccapable(ctx, server)


@host_test(timeout=100)
def test_memccapable_passes_over_the_native_stack(ctx):
    with mc.process(ctx, stack="native") as server:
        memccapable(ctx, server)


@guest_test(cpus=(1, 2, 4), modes=("release", "debug"), timeout=120)
def test_memccapable_passes_against_the_guest(ctx):
    with mc.guest(ctx) as server:
        memccapable(ctx, server)


@guest_test(timeout=120)
def test_memccapable_passes_through_user_mode_networking(ctx):
    with mc.guest(ctx, net="user") as server:
        memccapable(ctx, server)


@host_test(timeout=100)
def test_pymemcache_passes_against_the_process(ctx):
    with mc.process(ctx) as server:
        pymemcache(server)


@host_test(timeout=100)
def test_pymemcache_passes_over_the_native_stack(ctx):
    with mc.process(ctx, stack="native") as server:
        pymemcache(server)


@guest_test(cpus=(1, 2), timeout=120)
def test_pymemcache_passes_against_the_guest(ctx):
    with mc.guest(ctx) as server:
        pymemcache(server)


def fill_with_small_items(server, bytes_max):
    """Noreply sets until the cache evicts."""
    with server.connect() as s:
        i = 0
        while True:
            s.sendall(b"".join(b"set small%d 0 0 10 noreply\r\n0123456789\r\n" % j for j in range(i, i + 5000)))
            i += 5000
            s.sendall(b"stats\r\n")
            text = mc.read_until(s, b"END\r\n")
            if b"STAT evictions 0\r\n" not in text:
                return
            assert i < bytes_max // 50, text


def store_large_values(ctx, **kwargs):
    with mc.anywhere(ctx, ["-m", "16"], **kwargs) as server:
        fill_with_small_items(server, 16 << 20)
        for i in range(8):
            request = b"set big%d 0 0 500000\r\n%s\r\n" % (i, b"v" * 500000)
            assert server.ask(request) == b"STORED\r\n", i
        for i in range(8):
            assert len(server.ask(b"get big%d\r\n" % i)) > 500000, i


@host_test(timeout=60)
def test_large_values_are_stored_in_a_process_full_of_small_ones(ctx):
    store_large_values(ctx)


@guest_test(machines=("microvm",), timeout=100)
def test_large_values_are_stored_in_a_guest_full_of_small_ones(ctx):
    store_large_values(ctx, memory="64M")


@host_test(timeout=60)
def test_as_many_connections_as_asked_for_on_two_shards(ctx):
    with mc.process(ctx, ["-c", "10", "--smp", "2"]) as server:
        for _ in range(5):
            wait_for_connections(server, 0)
            served = [server.connect() for _ in range(10)]
            for i, s in enumerate(served):
                s.sendall(b"version\r\n")
                answer = mc.read_until(s, b"\r\n")
                assert answer.startswith(b"VERSION"), (i, answer)
            with server.connect() as one_more:
                assert mc.read_all(one_more) == b"ERROR Too many open connections\r\n"
            for s in served:
                s.close()


def wait_for_connections(server, count):
    """Until so many are open beside the one that asks."""
    while True:
        text = server.ask(b"stats\r\n")
        if b"STAT curr_connections %d\r\n" % (count + 1) in text:
            return


@host_test(timeout=30)
def test_the_binary_protocol_is_refused_in_its_own_words(ctx):
    with mc.process(ctx, ["--smp", "1"]) as server:
        for opcode in (0x00, 0x0b, 0x20):  # get, version, SASL mechanisms
            with server.connect() as s:
                s.sendall(struct.pack(">BBHBBHIIQ", 0x80, opcode, 0, 0, 0, 0, 0, 0x12345678, 0))
                header = mc.read_all(s)
                magic, op, _, _, _, status, body, opaque, _ = struct.unpack(">BBHBBHIIQ", header[:24])
                assert (magic, op, status, body, opaque) == (0x81, opcode, 0x81, len(header) - 24, 0x12345678), header
        server.check_alive()
        assert server.running.output.count("binary protocol") == 1, server.running.output


@host_test(timeout=30)
def test_stats_that_tools_ask_for_end_with_END(ctx):
    with mc.process(ctx, ["--smp", "2"]) as server:
        server.check_alive()
        for what in (b"", b" items", b" slabs", b" sizes", b" settings", b" conns"):
            answer = server.ask(b"stats%s\r\n" % what)
            assert answer.startswith(b"STAT ") and answer.endswith(b"\r\nEND\r\n"), (what, answer)


def stop_beside_a_client_that_never_reads(ctx, **kwargs):
    with mc.process(ctx, ["--smp", "2"], **kwargs) as server:
        assert server.ask(b"set big 0 0 500000\r\n%s\r\n" % (b"v" * 500000)) == b"STORED\r\n"
        stuck, idle = server.connect(), server.connect()
        stuck.sendall(b"get" + b" big" * 500 + b"\r\n")
        assert stuck.recv(1) == b"V"  # and no more
        server.check_alive()
    assert idle.recv(1) == b""
    stuck.close()
    idle.close()


@host_test(timeout=60)
def test_a_client_that_never_reads_does_not_hold_up_the_end(ctx):
    stop_beside_a_client_that_never_reads(ctx)


@host_test(timeout=60)
def test_nor_with_the_native_stack(ctx):
    stop_beside_a_client_that_never_reads(ctx, stack="native")


@guest_test(timeout=60)
def test_memcached_serves_in_64_MiB(ctx):
    with mc.guest(ctx, memory="64M") as server:
        server.check_alive()
        with server.connect() as s:
            for i in range(600):  # more than fits: eviction, not an error
                s.sendall(b"set fill%d 0 0 100000 noreply\r\n%s\r\n" % (i, b"v" * 100000))
            s.sendall(b"version\r\n")
            assert mc.read_until(s, b"\r\n").startswith(b"VERSION")
        server.check_alive()
