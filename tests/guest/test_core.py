"""The kernel's core without a program: the panic report, protections, threads, the clock, the random generator."""
import re

from solaster import qemu
from solaster.guest import Guest, kernel_path
from solaster.testing import guest_test

PANICKED = qemu.STATUS_PANIC
PASSED = 0


def selftest(ctx, name, memory="64M", cpus=None, extra=(), cpu=""):
    """Boots with selftest=NAME; the guest's status and what the console showed."""
    vm = qemu.Machine(machine=ctx.machine, cpus=cpus or ctx.cpus, memory=memory, accel=qemu.choose_accel("auto"), cpu=cpu,
                      extra=list(extra))
    with Guest(vm, kernel_path(ctx.out), append="selftest=" + name) as guest:
        return guest.wait(60), guest.output


def panics(ctx, name, *wanted):
    status, text = selftest(ctx, name)
    assert status == PANICKED, (status, text)
    for words in ("panic on cpu", "backtrace:", "kernel::first_thread", *wanted):
        assert words in text, text


@guest_test(cpus=(1, 2))
def test_a_panic_names_its_functions_and_ends_the_machine(ctx):
    panics(ctx, "panic", "kernel::test_panic", "rip ", "cr2 ", "interrupts ")


@guest_test(cpus=(2,))
def test_a_panic_waits_for_nobody(ctx):
    """The other CPU is stopped while it writes to the log: its locks are never released."""
    panics(ctx, "panic_locked", "kernel::test_panic_locked", "memory: ")


@guest_test()
def test_a_null_pointer_in_the_kernel_is_caught(ctx):
    panics(ctx, "null", "writing address 0 ", "kernel::test_null")


@guest_test()
def test_the_kernels_stack_has_a_guard(ctx):
    panics(ctx, "overflow", "kernel stack overflow", "kernel::recurse")


@guest_test()
def test_the_kernels_text_cannot_be_written(ctx):
    panics(ctx, "wx", "page fault in the kernel: writing", "kernel::test_write_text")


@guest_test(cpus=(1, 2, 4), modes=("release", "debug"), timeout=120)
def test_memory_and_threads(ctx):
    for name in ("memory", "threads"):
        status, text = selftest(ctx, name)
        assert status == PASSED, (name, status, text)


@guest_test()
def test_the_clock_runs_and_has_a_source_of_wall_time(ctx):
    status, text = selftest(ctx, "clock")
    assert status == PASSED and "slept 1" in text, text
    assert "from cmos" in text or "from kvmclock" in text, text


@guest_test()
def test_a_spoiled_calibration_is_found_out(ctx):
    right = int(re.search(r"tsc (\d+) kHz", selftest(ctx, "clock")[1]).group(1))
    for wrong in (right * 400, right * 900, right * 1100, right * 4000):
        status, text = selftest(ctx, "clock tsc_hz=%d" % wrong)
        found = int(re.search(r"tsc (\d+) kHz", text).group(1))
        assert status == PASSED and abs(found - right) < right / 50, (right, wrong, text)


@guest_test()
def test_without_randomness_it_refuses_loudly(ctx):
    if qemu.choose_accel("auto") != "tcg":
        return  # the host's CPU decides there
    status, text = selftest(ctx, "hello", cpu="qemu64")
    assert status == PANICKED and "no source of random numbers" in text, text
    device = "virtio-rng-pci" if ctx.machine == "q35" else "virtio-rng-device"
    status, text = selftest(ctx, "hello", cpu="qemu64", extra=["-device", device])
    assert status == PASSED and "hello from the kernel" in text, text


@guest_test()
def test_too_little_memory_is_said(ctx):
    status, text = selftest(ctx, "hello", memory="3M")
    assert status == PANICKED and "too little memory" in text, text
