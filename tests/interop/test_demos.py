"""The demos, as the tutorial builds them: how they end."""
import socket

from solaster.testing import free_port, guest_test, host_test

LINUX, SERVER = "10.9.0.1", "10.9.0.2"


def send_until_stuck(s, block):
    s.settimeout(0.5)
    try:
        while True:
            s.send(block)
    except TimeoutError:
        pass


def ends_in_spite_of_clients(running, connect, block):
    """One client that never reads and one that says nothing; both see the end."""
    stuck, idle = connect(), connect()
    send_until_stuck(stuck, block)
    assert running.stop() == 0, running.output
    stuck.close()
    idle.settimeout(5)
    assert idle.recv(1) == b""
    idle.close()


@host_test(timeout=60)
def test_a_client_that_never_reads_does_not_hold_up_the_end(ctx):
    for demo, block in (("echo", b"never read" * 6000), ("sharded_counter", b"a " * 30000)):
        for backend in ("io_uring", "epoll"):
            port = free_port()
            with ctx.process("demos/" + demo, ["--smp", 2, "--memory", "128M", "--port", port, "--reactor-backend", backend]) as running:
                running.wait_for("listening on port")
                ends_in_spite_of_clients(running, lambda: ctx.connect(port), block)


@host_test(timeout=60)
def test_nor_with_the_native_stack(ctx):
    ctx.own_network()
    ctx.tap("tap0", LINUX + "/24")
    with ctx.process("demos/echo", ["--smp", 2, "--memory", "128M", "--network-stack", "native", "--tap", "tap0",
                                    "--host-ipv4-addr", SERVER, "--netmask-ipv4-addr", "255.255.255.0"]) as running:
        running.wait_for("listening on port")
        ends_in_spite_of_clients(running, lambda: ctx.connect(7777, SERVER), b"never read" * 6000)


@guest_test(machines=("q35",), timeout=60)
def test_nor_in_a_guest(ctx):
    with ctx.guest("demos/echo", publish=[7777]) as guest:
        guest.wait_for("listening on port", timeout=60)
        ends_in_spite_of_clients(guest, lambda: ctx.connect(guest.ports[7777]), b"never read" * 6000)


@host_test(timeout=60)
def test_the_end_comes_at_once_when_nobody_is_there(ctx):
    port = free_port()
    with ctx.process("demos/echo", ["--smp", 2, "--memory", "128M", "--port", port]) as running:
        running.wait_for("listening on port")
        with ctx.connect(port) as s:
            s.sendall(b"hello")
            assert s.recv(100) == b"hello"
        assert running.stop() == 0, running.output
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0
