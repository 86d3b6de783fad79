"""The native stack against Linux's TCP/IP: over a tap as a Linux process (with the sanitizers, too) and in a guest, and over
user-mode networking in a guest."""
import random
import re

import net_peer
from net_peer import Wire
from solaster.testing import guest_test, host_test

SEED = 20240607


def everything(server, megabytes):
    net_peer.check_ping(server)
    net_peer.check_echo(server)
    net_peer.check_udp(server)
    net_peer.send_bulk(server, megabytes)
    net_peer.receive_bulk(server, megabytes)


def check_shares(counts, key):
    """Each carries more than a fifth."""
    shares = [sum(c[key]) if isinstance(c[key], list) else c[key] for c in counts.values()]
    assert min(shares) * 5 > sum(shares), counts


# ---------------------------------------------------------------- as a process

@host_test(timeout=120)
def test_process_over_tap(ctx):
    with net_peer.on_tap(ctx) as server:
        everything(server, 32)
        counts = server.stop()
        assert counts["queue"][0]["device errors"] == [0], counts


@host_test(timeout=120)
def test_process_two_shards_two_queues(ctx):
    with net_peer.on_tap(ctx, shards=2, queues=2) as server:
        everything(server, 8)
        net_peer.check_echo(server, 100, 20)
        counts = server.stop()
        assert all(c["received"] > 500 for c in counts["stack"].values()), counts


@host_test(timeout=120)
def test_process_three_shards_one_queue(ctx):
    with net_peer.on_tap(ctx, shards=3, queues=1) as server:
        everything(server, 8)
        net_peer.check_echo(server, 60, 10)
        counts = server.stop()
        assert counts["stack"][1]["taken in"] > 100 and counts["stack"][2]["sent abroad"] > 100, counts


def clients_that_are_never_read(ctx, shards):
    with net_peer.on_tap(ctx, shards=shards, queues=1) as server:
        stuck = [server.connect(net_peer.SILENT) for _ in range(20)]
        for s in stuck:
            s.settimeout(0.2)
            try:
                while True:
                    s.send(b"never read" * 6000)
            except TimeoutError:
                pass
        net_peer.check_echo(server, 60, 10)
        for s in stuck:
            s.close()
        server.stop()


@host_test(timeout=120)
def test_process_clients_that_are_never_read_starve_nobody(ctx):
    clients_that_are_never_read(ctx, 3)


@guest_test(guests=[("q35", 2)], timeout=120)
def test_guest_clients_that_are_never_read_starve_nobody(ctx):
    clients_that_are_never_read(ctx, 2)


# ---------------------------------------------------------------- in a guest

@guest_test(timeout=150)
def test_guest_over_tap(ctx):
    with net_peer.on_tap(ctx) as server:
        everything(server, 32)
        counts = server.stop()
        assert counts["queue"][0]["device errors"] == [0], counts


@guest_test(machines=("q35",), timeout=600)
def test_guest_moves_a_gibibyte_each_way(ctx):
    with net_peer.on_tap(ctx) as server:
        net_peer.send_bulk(server, 1024)
        net_peer.receive_bulk(server, 1024)
        server.stop()


@guest_test(cpus=(1, 2), timeout=120)
def test_guest_over_user_network(ctx):
    with net_peer.on_user_network(ctx, ctx.cpus) as server:
        assert re.search(r"address 10\.0\.2\.\d+/24, gateway 10\.0\.2\.2 \(DHCP\)", server.running.output)
        net_peer.check_echo(server, 40, 50, pause=0.03)
        if ctx.cpus == 1:
            net_peer.send_bulk(server, 8)
            net_peer.receive_bulk(server, 8)
        counts = server.stop()
        assert len(counts["queue"]) == 1
        if ctx.cpus == 2:
            check_shares(counts["stack"], "received")
            assert counts["stack"][1]["taken in"] > 100 and counts["stack"][1]["sent abroad"] > 100, counts


def several_queues(ctx, rss):
    with net_peer.on_tap(ctx, shards=2, queues=2, rss=rss) as server:
        steers = "steers by itself" in server.running.output
        assert steers == rss, server.running.output
        net_peer.check_ping(server)
        net_peer.check_udp(server)
        net_peer.check_echo(server, 100, 20)
        counts = server.stop()
        check_shares(counts["queue"], "packets")
        if rss:
            handed = sum(c["handed over"] for c in counts["stack"].values())
            assert handed * 20 < sum(c["received"] for c in counts["stack"].values()), counts


@guest_test(guests=[("q35", 2), ("microvm", 2)], timeout=120)
def test_guest_several_queues_with_rss(ctx):
    several_queues(ctx, True)


@guest_test(guests=[("q35", 2), ("microvm", 2)], timeout=120)
def test_guest_several_queues_steered_in_software(ctx):
    several_queues(ctx, False)


@guest_test(guests=[("q35", 4)], timeout=120)
def test_guest_four_shards_share_two_queues(ctx):
    with net_peer.on_tap(ctx, shards=4, queues=2) as server:
        net_peer.check_echo(server, 100, 20)
        counts = server.stop()
        check_shares(counts["queue"], "packets")
        assert all(c["received"] > 100 for c in counts["stack"].values()), counts


# ---------------------------------------------------------------- bad input

def hostile_frames(wire, rng, count):
    """Frames that are wrong in every way that comes to mind."""
    def header():
        return Wire.tcp(rng.randrange(1024, 65536), rng.choice((7, 9, 19, 80)), rng.randrange(64), ack=rng.randrange(1 << 32))
    kinds = (
        lambda: rng.randbytes(rng.randrange(14, 200)),
        lambda: wire.ethernet(rng.randbytes(rng.randrange(0, 200)), rng.choice((0x0800, 0x0806, 0x86dd, 0x8100, 0x88cc))),
        lambda: wire.ethernet(Wire.ipv4(header(), length=rng.choice((0, 5, 19, 20, 30, 39, 41, 1500, 65535)))),
        lambda: wire.ethernet(Wire.ipv4(header(), header_words=rng.choice((0, 1, 4, 6, 15)))),
        lambda: wire.ethernet(Wire.ipv4(header(), version=rng.choice((0, 5, 6, 15)))),
        lambda: wire.ethernet(Wire.ipv4(header(), checksum=rng.randrange(65536))),
        lambda: wire.ethernet(Wire.ipv4(header(), fragment=rng.choice((0x2000, 1, 0x1fff, 0x8000)))),
        lambda: wire.ethernet(Wire.ipv4(header(), source=rng.choice(("0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", net_peer.SERVER)))),
        lambda: wire.ethernet(Wire.ipv4(Wire.tcp(1024, 7, offset_words=rng.choice((0, 1, 4, 6, 15))))),
        lambda: wire.ethernet(Wire.ipv4(Wire.tcp(1024, 7, checksum=rng.randrange(65536)))),
        lambda: wire.ethernet(Wire.ipv4(Wire.tcp(1024, 7, offset_words=8, options=rng.randbytes(12)))),
        lambda: wire.ethernet(Wire.ipv4(header()[:rng.randrange(20)])),
        lambda: wire.ethernet(Wire.ipv4(rng.randbytes(rng.randrange(60)), protocol=rng.choice((1, 17, 2, 50, 255)))),
        lambda: wire.ethernet(Wire.ipv4(header())[:rng.randrange(14, 40)]),
        lambda: wire.ethernet(Wire.ipv4(Wire.tcp(1024, 7, flags=0x10, payload=rng.randbytes(rng.randrange(1400))))),
    )
    for i in range(count):
        wire.send(kinds[i % len(kinds)]())


def bad_frames(ctx):
    with net_peer.on_tap(ctx) as server:
        net_peer.check_echo(server, 2, 2)
        rng = random.Random(SEED)
        hostile_frames(Wire(server), rng, 6000)
        net_peer.check_ping(server)
        net_peer.check_echo(server)
        net_peer.check_udp(server)
        server.stop()


@host_test(timeout=120)
def test_process_survives_bad_frames(ctx):
    bad_frames(ctx)


@guest_test(timeout=120)
def test_guest_survives_bad_frames(ctx):
    bad_frames(ctx)


MEMORY_MARGIN = 64 << 20  # what a flood may add to the process; the guest's memory bounds QEMU


def syn_flood(ctx):
    """1,000 SYNs, each followed by a reset, from addresses that nobody answers for."""
    with net_peer.on_tap(ctx) as server:
        net_peer.check_echo(server, 2, 2)
        before = server.memory()
        wire = Wire(server)
        for i in range(1000):
            source = "10.9.0.%d" % (100 + i % 100)
            seq = random.randrange(1 << 32)
            wire.send(wire.ethernet(Wire.ipv4(Wire.tcp(2000 + i, 7, 2, seq, source=source), source=source)))
            wire.send(wire.ethernet(Wire.ipv4(Wire.tcp(2000 + i, 7, 4, (seq + 1) % (1 << 32), source=source), source=source)))
        net_peer.check_echo(server, 20, 5)
        assert server.memory() - before < MEMORY_MARGIN, (before, server.memory())
        server.stop()


@host_test(timeout=120)
def test_process_survives_syns_and_resets(ctx):
    syn_flood(ctx)


@guest_test(timeout=120)
def test_guest_survives_syns_and_resets(ctx):
    syn_flood(ctx)


def open_and_drop(ctx):
    """10,000 connections, some closed, some reset, some with a word said."""
    import socket
    import struct
    with net_peer.on_tap(ctx) as server:
        before = server.memory()
        for i in range(10_000):
            s = socket.socket()
            s.settimeout(20)
            s.connect((server.address, net_peer.ECHO))
            if i % 3 == 0:
                s.send(b"half a word")
            if i % 2 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        net_peer.check_echo(server, 20, 5)
        assert server.memory() - before < MEMORY_MARGIN, (before, server.memory())
        server.stop()


@host_test(modes=("release",), timeout=180)
def test_process_survives_10000_connections(ctx):
    open_and_drop(ctx)


@guest_test(timeout=240)
def test_guest_survives_10000_connections(ctx):
    open_and_drop(ctx)


@host_test(modes=("release",))
def test_process_says_what_is_wrong_with_its_tap(ctx):
    ctx.own_network()
    ctx.tap("tap0", net_peer.LINUX + "/24")
    cases = (
        (["--tap", "nosuch"], "there is no such tap"),
        (["--tap", "lo"], "not a tap"),
        (["--tap", "a-name-too-long-for-linux"], "not a name for a network interface"),
        ([], "needs a tap device"),
        (["--tap", "tap0", "--dhcp", "0"], "needs an address"),
        (["--tap", "tap0", "--host-ipv4-addr", "10.9.0"], "not an IPv4 address"),
        (["--tap", "tap0", "--host-ipv4-addr", "10.9.0.2", "--netmask-ipv4-addr", "255.0.255.0"], "not a netmask"),
    )
    for arguments, words in cases:
        done = ctx.run(net_peer.PROGRAM, ["--network-stack", "native", "--memory", "64M", *arguments])
        assert done.returncode != 0, arguments
        lines = (done.stdout + done.stderr).strip().splitlines()
        assert len(lines) == 1 and words in lines[0], (arguments, lines)
