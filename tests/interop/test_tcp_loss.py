"""Our TCP against Linux's over a line that loses, reorders, copies and corrupts: two taps joined by tests/tools/relay, which is
the simulator's fault device in real time.

    Linux -- tap "near" -- relay -- tap "far" -- bridge -- tap0 -- our stack
"""
import contextlib
import re

import net_peer
from solaster import network
from solaster.testing import guest_test, host_test

SEED = 20241120


@contextlib.contextmanager
def relay(ctx, seed, **faults):
    """The line, up, with Linux's address on this side; yields a function that stops it and returns what struck."""
    ctx.own_network()
    # Linux's BBR without SACK (which we do not offer yet) stands still after losses: its timeout doubles and never comes
    # back, because no segment is ever acknowledged that was not sent twice.
    with open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as f:
        f.write("reno")
    ctx.tap("tap0", None)
    flags = [w for name, value in faults.items() for w in ("--" + name.replace("_", "-"), value)]
    with ctx.process("tests/tools/relay", ["--a", "near", "--b", "far", "--seed", seed, *flags]) as running:
        running.wait_for("relay: ready")
        network.ip("link", "add", "br0", "type", "bridge")
        for name in ("far", "tap0"):
            network.ip("link", "set", name, "master", "br0")
        network.ip("addr", "add", net_peer.LINUX + "/24", "dev", "near")
        for name in ("near", "far", "br0"):
            network.ip("link", "set", name, "up")

        def stop():
            assert running.stop() == 0, running.output
            counts = {}
            for what, number in re.findall(r"(lost|reordered|duplicated|corrupted|packets) (\d+)", running.output):
                counts.setdefault(what, []).append(int(number))
            print(running.output)
            return counts

        yield stop


@contextlib.contextmanager
def server(ctx):
    args = [*net_peer.ADDRESS_OPTIONS]
    if ctx.machine:
        running = ctx.guest(net_peer.PROGRAM, args, net="tap", tap="tap0")
    else:
        running = ctx.process(net_peer.PROGRAM, ["--smp", 1, "--memory", "256M", "--network-stack", "native", "--tap", "tap0",
                                                 *args])
    with running:
        running.wait_for("net_echo - ready", timeout=60)
        yield net_peer.Server(ctx, running)


def bulk_each_way(ctx, megabytes, seed=SEED, **faults):
    with relay(ctx, seed, **faults) as stop, server(ctx) as s:
        net_peer.send_bulk(s, megabytes)
        net_peer.receive_bulk(s, megabytes)
        s.running.stop()
        counts = stop()
        assert min(counts["lost"]) > 0 and min(counts["reordered"]) > 0, counts
        return counts


@host_test(timeout=240)
def test_process_64_mib_each_way_through_loss_and_reordering(ctx):
    bulk_each_way(ctx, 64, loss_ppm=10000, reorder_ppm=10000)


@host_test(timeout=120)
def test_process_through_every_fault(ctx):
    counts = bulk_each_way(ctx, 8, loss_ppm=10000, reorder_ppm=20000, duplicate_ppm=10000, corrupt_ppm=5000, delay_us=500)
    assert min(counts["duplicated"]) > 0 and min(counts["corrupted"]) > 0, counts


@host_test(timeout=120)
def test_process_many_connections_through_five_percent_loss(ctx):
    with relay(ctx, SEED, loss_ppm=50000, reorder_ppm=20000) as stop, server(ctx) as s:
        net_peer.check_echo(s, connections=20, rounds=10)
        s.running.stop()
        stop()


@guest_test(machines=("q35",), timeout=300)
def test_guest_64_mib_each_way_through_loss_and_reordering(ctx):
    bulk_each_way(ctx, 64, loss_ppm=10000, reorder_ppm=10000)
