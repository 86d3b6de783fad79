"""The kernel is small, starts soon and needs little memory."""
import statistics
import subprocess

from solaster import qemu
from solaster.guest import Guest, kernel_path
from solaster.testing import guest_test

STARTS = 20
START_RATIO_MAX = 3.3
KERNEL_BYTES_MAX = 1536 << 10


def start_seconds(vm, kernel, wanted, program=None):
    """From QEMU's start to the first byte of output."""
    with Guest(vm, kernel, program, name="hello") as guest:
        guest.wait_for(wanted, 20)
        return guest.first_output - guest.started


@guest_test(machines=("microvm",), timeout=120)
def test_first_output_comes_soon(ctx):
    """Median of 20 starts of a program that prints a line, against an empty PVH kernel in the same run."""
    accel = qemu.choose_accel("auto")
    vm = lambda: qemu.Machine(machine="microvm", cpus=1, memory="128M", accel=accel, nets=[], rng=False)
    empty = ctx.folder / "empty.elf"
    empty.write_bytes(qemu.probe_kernel(b"x"))
    program = ctx.program("tests/abi/hello").read_bytes()
    ours, theirs = [], []
    for _ in range(STARTS):
        theirs.append(start_seconds(vm(), empty, "x"))
        ours.append(start_seconds(vm(), kernel_path(ctx.out), "hello", program))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print("empty kernel %.1f ms, hello %.1f ms, ratio %.2f (medians of %d)" %
          (statistics.median(theirs) * 1e3, statistics.median(ours) * 1e3, ratio, STARTS))
    assert ratio <= START_RATIO_MAX, "ratio %.2f" % ratio


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
