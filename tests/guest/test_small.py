"""The kernel is small and needs little memory. How soon it starts is measured by tests/bench/boot_time.py."""
import subprocess

from solaster.guest import kernel_path
from solaster.testing import guest_test

KERNEL_BYTES_MAX = 1536 << 10


@guest_test(machines=("microvm",))
def test_the_kernel_is_small(ctx):
    stripped = ctx.folder / "kernel"
    subprocess.run(["strip", "-o", str(stripped), str(kernel_path(ctx.out))], check=True)
    print("%d bytes" % stripped.stat().st_size)
    assert stripped.stat().st_size < KERNEL_BYTES_MAX


@guest_test()
def test_little_memory_is_enough(ctx):
    with ctx.guest("tests/abi/hello", net="none", memory="16M") as guest:
        guest.wait_for("hello, world")
        assert guest.wait(10) == 0, guest.output
    with ctx.guest("memcached", ["-m", "16"], memory="64M", publish=[11211]) as guest:
        guest.wait_for("listening")
        with ctx.connect(guest.ports[11211]) as client:
            client.sendall(b"set a 0 0 3\r\nabc\r\nget a\r\n")
            got = b""
            while not got.endswith(b"END\r\n"):
                got += client.recv(100)
        assert got == b"STORED\r\nVALUE a 0 3\r\nabc\r\nEND\r\n", got
        assert guest.stop() == 0, guest.output


@guest_test()
def test_too_little_memory_is_said(ctx):
    with ctx.guest("tests/abi/hello", net="none", memory="4M") as guest:
        guest.wait_for("solaster: .*memory")
        assert guest.wait(10) != 0, guest.output
