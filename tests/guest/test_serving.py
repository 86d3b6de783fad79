"""What a guest serves is reached from the host from the moment at which run.py says so, and not a moment before."""
import os
import re
import selectors
import signal
import socket
import subprocess
import time

from solaster import build, network
from solaster.guest import free_port
from solaster.testing import Skip, guest_test, host_test

RUN = str(build.ROOT / "scripts/run.py")
CLIENTS = 200
SYN_REPEATED_SECONDS = 1  # Linux's and slirp's first time-out


def start(ctx, *args):
    log = open(ctx.folder / "log", "wb+")
    process = subprocess.Popen([RUN, *map(str, args)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def output():
        return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")
    return process, output


def wait_for(process, output, pattern, seconds=50):
    deadline = time.monotonic() + seconds
    while not re.search(pattern, output(), re.M):
        assert process.poll() is None and time.monotonic() < deadline, output()
        time.sleep(0.02)


def stop(process):
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(20)
    finally:
        process.kill()
        process.wait()


def ask_all(address, question, count):
    """How many of `count` connections made at once were answered."""
    waiting, answered = selectors.DefaultSelector(), 0
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.setblocking(False)
        s.connect_ex(address)
        waiting.register(s, selectors.EVENT_WRITE)
    deadline = time.monotonic() + 30
    while waiting.get_map() and time.monotonic() < deadline:
        for key, events in waiting.select(0.5):
            try:
                if events & selectors.EVENT_WRITE:
                    key.fileobj.send(question)
                    waiting.modify(key.fileobj, selectors.EVENT_READ)
                    continue
                answered += bool(key.fileobj.recv(100))
            except OSError:
                pass
            waiting.unregister(key.fileobj)
    for s in sockets:
        s.close()
    return answered


@guest_test(cpus=(1, 4))
def test_two_hundred_clients_at_once_are_all_answered(ctx):
    """No SYN is repeated on the way, nor is one dropped in the guest because it does not know the gateway yet."""
    with ctx.guest("memcached", ["--logger-log-level", "stats=debug"], publish=[11211]) as guest:
        found = guest.wait_listening(11211)
        assert not found.problem, found
        assert ask_all(("127.0.0.1", guest.ports[11211]), b"version\r\n", CLIENTS) == CLIENTS
        assert guest.stop() == 0, guest.output
        assert "dropped neighbour_queue" not in guest.output, guest.output


@guest_test(cpus=(1, 2))
def test_a_port_is_refused_until_it_is_served(ctx):
    with ctx.guest("memcached", publish=[11211]) as guest:
        port = guest.ports[11211]
        with socket.socket() as s:
            s.settimeout(5)
            early = s.connect_ex(("127.0.0.1", port))
        if not guest.listening:
            assert early != 0, "a connection was taken that nobody can answer"
        guest.wait_listening(11211)
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.sendall(b"version\r\n")
            assert s.recv(100).startswith(b"VERSION")
        assert guest.stop() == 0


@guest_test(machines=("microvm",))
def test_a_server_of_ones_own_is_published_by_itself(ctx):
    port = free_port()
    process, output = start(ctx, ctx.program("demos/echo"), "--", "--port", port)
    wait_for(process, output, "serving on localhost:%d" % port)
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(b"hello")
        assert s.recv(100) == b"hello"
    assert stop(process) == 0, output()


@guest_test(machines=("microvm",))
def test_the_publish_that_is_missing_is_said(ctx):
    other = free_port()
    process, output = start(ctx, "demos/echo", "--publish", "%d:80" % other)
    wait_for(process, output, r"listens on port 7777, which is not published: add --publish 7777:7777$")
    assert stop(process) == 0, output()


@guest_test(machines=("microvm",))
def test_a_port_that_is_taken_here_is_said(ctx):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, output = start(ctx, ctx.program("demos/echo"), "--", "--port", port)
        wait_for(process, output, r"listens on port %d: .*Address already in use; choose another with --publish \d+:%d" % (port, port))
        assert stop(process) == 0, output()


@guest_test(machines=("microvm",))
def test_on_a_tap_the_address_is_said(ctx):
    ctx.own_network()
    ctx.tap("tap0", "10.9.0.1/24")
    process, output = start(ctx, "demos/echo", "--net", "tap=tap0")
    wait_for(process, output, r"serving on 10\.9\.0\.2:7777")
    with socket.create_connection(("10.9.0.2", 7777), 20) as s:
        s.sendall(b"hello")
        assert s.recv(100) == b"hello"
    assert stop(process) == 0, output()


@guest_test()
def test_a_program_without_sockets_needs_no_network_device(ctx):
    with ctx.guest("demos/hello", net="none") as guest:
        assert guest.wait(30) == 0, guest.output
        assert "hello, world" in guest.output
    with ctx.guest("demos/echo", net="none") as guest:
        assert guest.wait(30) != 0 and "this guest has no network device" in guest.output, guest.output


@guest_test(machines=("microvm",))
def test_a_loopback_that_is_not_there_is_said(ctx):
    with ctx.guest("memcached", ["-l", "127.0.0.1"]) as guest:
        assert guest.wait(30) != 0 and "has no loopback yet" in guest.output, guest.output


@guest_test(machines=("microvm",))
def test_closing_statistics_are_asked_for(ctx):
    with ctx.guest("memcached", publish=[11211]) as guest:
        guest.wait_listening(11211)
        assert guest.stop() == 0 and "retransmitted" not in guest.output, guest.output
    with ctx.guest("memcached", ["-v"], publish=[11211]) as guest:
        guest.wait_listening(11211)
        assert guest.stop() == 0 and "retransmitted" in guest.output, guest.output


@host_test(modes=("release",))
def test_a_listeners_queue_is_widened_from_outside(ctx):
    """As QEMU's is: a child listens with a backlog of one, and sixty connections find room."""
    code = ("import socket,time; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(1); "
            "print(s.getsockname()[1], flush=True); time.sleep(60)")
    child = subprocess.Popen(["sh", "-c", 'python3 -c "%s"; true' % code], stdout=subprocess.PIPE, text=True)
    try:
        port = int(child.stdout.readline())
        try:
            network.widen_backlog(child.pid, "127.0.0.1", port)
        except PermissionError:
            raise Skip("no right to borrow a child's socket")
        clients = [socket.socket() for _ in range(60)]
        for s in clients:
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
        poller = selectors.DefaultSelector()
        for s in clients:
            poller.register(s, selectors.EVENT_WRITE)
        assert len(poller.select(SYN_REPEATED_SECONDS / 2)) == 60
    finally:
        subprocess.run(["kill", *map(str, network._descendants(child.pid)), str(child.pid)])
        child.wait()
