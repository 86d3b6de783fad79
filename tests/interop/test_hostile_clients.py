"""What must not stop a server: garbage, half requests, clients that never read, floods of connections, in every host.

After each the server must answer, and its memory must have grown by less than the bound that stands beside the case.
"""
import random
import select
import socket
import struct

import memcached_server as mc
from solaster.testing import Skip, guest_test, host_test

MIB = 1 << 20
GROWTH_MAX = 64 * MIB          # of a process, in every case but the one below
HALF_REQUESTS_GROWTH_MAX = 256 * MIB   # 10,000 connections held open: 25 KiB each, the client's socket buffers not counted
CONNECTIONS = 10_000
CLIENT_OPTIONS = ["-c", "12000", "-m", "32"]
SEED = 20260101


def hostile(action, connections_max=None, growth_max=GROWTH_MAX, timeout=180, **server_options):
    """Two cases of one action(server): as a process (posix and native stacks) and in a guest of 256 MiB."""
    def check(ctx, where, **kwargs):
        need_files(connections_max or 100)
        with where(ctx, CLIENT_OPTIONS, **kwargs) as server:
            server.check_alive()
            before = server.memory()
            action(server)
            server.check_alive()
            if not ctx.machine:
                grown = server.memory() - before
                assert grown < growth_max, "the process grew by %d MiB" % (grown // MIB)

    def in_process(ctx):
        check(ctx, mc.process)

    def over_native(ctx):
        check(ctx, mc.process, stack="native")

    def in_guest(ctx):
        check(ctx, mc.guest, memory="256M")

    return (host_test(timeout=timeout)(in_process), host_test(timeout=timeout)(over_native),
            guest_test(timeout=timeout, **server_options)(in_guest))


def need_files(count):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        raise Skip("at most %d open files are allowed here" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * count + 400)), hard))


def send_garbage(server):
    rng = random.Random(SEED)
    for i in range(200):
        with server.connect() as s:
            try:
                s.sendall(rng.randbytes(rng.randrange(1, 4000)) + b"\r\n" * (i % 2))
                s.settimeout(0.05)
                s.recv(4096)
            except OSError:
                pass
    with server.connect() as s:  # one endless line
        try:
            for _ in range(64):
                s.sendall(b"x" * 65536)
        except OSError:
            pass


def stop_half_way(server):
    held = []
    for text in (b"get", b"set a 0 0 10\r\nabc", b"set a 0 0 1000000\r\n", b"get " + b"k" * 300, b"\x80", b"s", b"gets a b"):
        s = server.connect()
        s.sendall(text)
        held.append(s)
    server.check_alive()
    for s in held:
        s.close()


def never_read(server):
    assert server.ask(b"set big 0 0 500000\r\n%s\r\n" % (b"v" * 500000)) == b"STORED\r\n"
    held = []
    for _ in range(5):
        s = server.connect()
        s.setblocking(False)
        sent = 0
        while sent < 1 << 20 and select.select([], [s], [], 1)[1]:
            try:
                sent += s.send(b"get big\r\n" * 500)
            except OSError:
                break
        held.append(s)
    server.check_alive()
    for s in held:
        mc.reset(s)


def open_and_drop(server):
    for i in range(CONNECTIONS):
        s = server.connect()
        if i % 3 == 0:
            mc.reset(s)
        else:
            s.close()


def hold_half_requests(server):
    held = []
    try:
        for i in range(CONNECTIONS):
            s = server.connect(60)
            s.sendall(b"set half%d 0 0 100\r\nnot all of it" % i)
            held.append(s)
        server.check_alive()
    finally:
        for s in held:
            s.close()


def many_commands_in_one_segment(server):
    got = server.ask(b"set a 0 0 1\r\n1\r\nget a\r\nincr a 4\r\nget a nope\r\nbogus\r\ndelete a\r\nget a\r\n")
    assert got == (b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n5\r\nVALUE a 0 1\r\n5\r\nEND\r\nERROR\r\nDELETED\r\nEND\r\n"), got


# ---- below TCP: only where the frames are ours to make, on a tap

def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def tcp_frame(macs, ports, seq, flags, payload=b"", lie=None):
    """An Ethernet frame from 10.9.0.1; lie: changes the finished IP packet (a bytearray) before it is sent."""
    source, target = socket.inet_aton("10.9.0.1"), socket.inet_aton(mc.GUEST)
    tcp = bytearray(struct.pack(">HHIIBBHHH", *ports, seq, 0, 5 << 4, flags, 65535, 0, 0) + payload)
    struct.pack_into(">H", tcp, 16, checksum(source + target + struct.pack(">BBH", 0, 6, len(tcp)) + bytes(tcp)))
    ip = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, source, target))
    struct.pack_into(">H", ip, 10, checksum(bytes(ip)))
    packet = bytearray(ip + tcp)
    if lie:
        lie(packet)
    return macs + b"\x08\x00" + bytes(packet)


def raw_socket(server):
    """(packet socket on tap0, the frame's two addresses)."""
    import subprocess
    text = subprocess.run(["ip", "neigh", "show", mc.GUEST], capture_output=True, text=True).stdout
    target = bytes.fromhex(text.split("lladdr ")[1].split()[0].replace(":", ""))
    with open("/proc/self/net/dev") as f:
        assert "tap0" in f.read()
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("tap0", 0))
    return s, target + s.getsockname()[4]


def send_lying_headers(server):
    raw, macs = raw_socket(server)
    rng = random.Random(SEED)

    def put(packet, at, fmt, value):
        struct.pack_into(fmt, packet, at, value)

    lies = [lambda p: put(p, 2, ">H", 9000), lambda p: put(p, 2, ">H", 10), lambda p: put(p, 0, "B", 0x4f),
            lambda p: put(p, 0, "B", 0x41), lambda p: put(p, 0, "B", 0x65), lambda p: put(p, 6, ">H", 0x3fff),
            lambda p: put(p, 32, "B", 0xf0), lambda p: put(p, 32, "B", 0x10), lambda p: p.__delitem__(slice(25, None)),
            lambda p: p.__delitem__(slice(10, None)), lambda p: put(p, 16, ">I", 0xffffffff), lambda p: p.extend(b"z" * 900)]
    for i in range(600):
        flags = rng.choice((0x02, 0x10, 0x12, 0x18, 0x04, 0x29, 0x3f, 0))
        raw.send(tcp_frame(macs, (1024 + i, server.port), rng.getrandbits(32), flags, rng.randbytes(rng.randrange(60)),
                           lies[i % len(lies)]))
    for _ in range(400):
        raw.send(macs + rng.choice((b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x00\x05")) + rng.randbytes(rng.randrange(60)))
    raw.close()


def syns_and_resets(server):
    raw, macs = raw_socket(server)
    for i in range(1000):
        raw.send(tcp_frame(macs, (20000 + i, server.port), 1000 * i, 0x02))
    server.check_alive()
    for i in range(1000):
        raw.send(tcp_frame(macs, (20000 + i, server.port), 1000 * i + 1, 0x04))
    raw.close()


test_garbage_as_a_process, test_garbage_over_the_native_stack, test_garbage_in_a_guest = hostile(send_garbage)
test_half_a_request_as_a_process, test_half_a_request_over_the_native_stack, test_half_a_request_in_a_guest = hostile(
    stop_half_way)
test_a_client_that_never_reads_as_a_process, test_a_client_that_never_reads_over_the_native_stack, \
    test_a_client_that_never_reads_in_a_guest = hostile(never_read)
test_10000_connections_dropped_as_a_process, test_10000_connections_dropped_over_the_native_stack, \
    test_10000_connections_dropped_in_a_guest = hostile(open_and_drop, CONNECTIONS)
test_10000_half_requests_as_a_process, test_10000_half_requests_over_the_native_stack, test_10000_half_requests_in_a_guest = \
    hostile(hold_half_requests, CONNECTIONS, HALF_REQUESTS_GROWTH_MAX)
test_commands_in_one_segment_as_a_process, test_commands_in_one_segment_over_the_native_stack, \
    test_commands_in_one_segment_in_a_guest = hostile(many_commands_in_one_segment)
_, test_lying_headers_over_the_native_stack, test_lying_headers_in_a_guest = hostile(send_lying_headers)
_, test_syns_then_resets_over_the_native_stack, test_syns_then_resets_in_a_guest = hostile(syns_and_resets)
