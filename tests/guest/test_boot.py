"""How fast and how small: the bounds on start-up time, memory and the kernel's size."""
import shutil
import statistics
import subprocess
import tempfile

from solaster import qemu
from solaster.guest import Guest
from solaster.testing import guest_test, host_test

RUNS = 20
TIMES_EMPTY_MAX = 3.3
STRIPPED_MAX = 3 << 19  # 1.5 MiB
SMALLEST_MEMORY = "16M"


def milliseconds_to_output(guest):
    with guest:
        guest.wait_for(r"\n|x", 20)
        return 1000 * (guest.first_output - guest.started)


@guest_test(machines=("microvm",), timeout=120)
def test_first_output_comes_soon_after_an_empty_kernels(ctx):
    """Interleaved with an empty PVH kernel that prints one byte; the kernel's log is off, the program's line is first."""
    empty, ours = [], []
    with tempfile.NamedTemporaryFile(suffix=".elf") as kernel:
        kernel.write(qemu.probe_kernel(b"x"))
        kernel.flush()
        for _ in range(RUNS):
            vm = qemu.Machine(machine=ctx.machine, memory="128M", accel=qemu.choose_accel())
            empty.append(milliseconds_to_output(Guest(vm, kernel.name)))
            ours.append(milliseconds_to_output(ctx.guest("tests/abi/print_line", net="none", memory="128M",
                                                         options=["loglevel=0"])))
    a, b = statistics.median(empty), statistics.median(ours)
    print("empty kernel %.1f ms, a program's line %.1f ms: %.2f times" % (a, b, b / a))
    assert b <= TIMES_EMPTY_MAX * a, "empty %.1f ms, ours %.1f ms (%.2f times)" % (a, b, b / a)


@guest_test()
def test_a_small_program_runs_in_16_MiB(ctx):
    with ctx.guest("tests/abi/print_line", net="none", memory=SMALLEST_MEMORY) as guest:
        guest.wait_for("^a line$", 20)
        assert guest.wait(10) == 0


@host_test(modes=("release",))
def test_stripped_kernel_is_small(ctx):
    strip = shutil.which("llvm-strip-19") or ctx.need("strip")
    out = ctx.folder / "kernel"
    subprocess.run([strip, "-o", str(out), str(ctx.program("solaster-kernel.elf"))], check=True)
    assert out.stat().st_size < STRIPPED_MAX, "%d bytes" % out.stat().st_size
