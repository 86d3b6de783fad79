"""Starts that cannot go well: one clear line, and a non-zero status."""
import os

from solaster import qemu
from solaster.guest import Guest, kernel_path
from solaster.testing import guest_test

REFUSED = qemu.STATUS_PANIC  # the kernel's refuse() ends as a panic does


def refused(ctx, wanted, append, files=(), memory="64M"):
    """Boots the kernel by hand with this command line and these (name, bytes) files; the reason must be on the console."""
    initrd = ctx.folder / "initrd.cpio"
    if files:
        initrd.write_bytes(archive(files))
    boot(ctx, wanted, append, str(initrd) if files else None, memory)


def boot(ctx, wanted, append, initrd, memory="64M"):
    vm = qemu.Machine(machine=ctx.machine, cpus=1, memory=memory, accel=qemu.choose_accel("auto"))
    with Guest(vm, kernel_path(ctx.out), append=append, initrd=initrd) as guest:
        assert guest.wait(40) == REFUSED, guest.output
        lines = [line for line in guest.output.splitlines() if "solaster: " in line]
        assert any(wanted in line for line in lines), guest.output


def archive(files):
    """A newc cpio of (name, content)."""
    out = b""
    for name, content in [*files, ("TRAILER!!!", None)]:
        raw = name.encode() + b"\0"
        fields = [0, 0o100755 if content is not None else 0, 0, 0, 1, 0, len(content or b""), 0, 0, 0, 0, len(raw), 0]
        out += b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        out += b"\0" * (-len(out) % 4)
        out += content or b""
        out += b"\0" * (-len(out) % 4)
    return out


@guest_test(timeout=120)
def test_what_is_missing_is_said(ctx):
    good = (ctx.out / "tests/abi/hello").read_bytes()
    refused(ctx, "no initrd", "-- /hello")
    refused(ctx, "no program on the kernel's command line", "", [("hello", good)])
    refused(ctx, "no program /hullo in the initrd", "-- /hullo", [("hello", good)])


@guest_test(timeout=120)
def test_what_is_not_a_program_is_said(ctx):
    good = (ctx.out / "tests/abi/hello").read_bytes()
    refused(ctx, "no ELF header", "-- /x", [("x", b"#!/bin/sh\necho this is a script, and long enough to hold an ELF header\n")])
    refused(ctx, "too short", "-- /x", [("x", b"abc")])
    refused(ctx, "damaged", "-- /x", [("x", good[:5000])])
    refused(ctx, "linked dynamically", "-- /x", [("x", open(os.path.realpath("/bin/true"), "rb").read())])


@guest_test(timeout=120)
def test_a_damaged_initrd_is_said(ctx):
    initrd = ctx.folder / "bad.cpio"
    initrd.write_bytes(b"this is not an archive of any kind" * 100)
    boot(ctx, "initrd is damaged", "-- /x", str(initrd))


@guest_test(timeout=120)
def test_options_of_the_kernel_are_checked(ctx):
    program = [("hello", (ctx.out / "tests/abi/hello").read_bytes())]
    refused(ctx, "no kernel option bogus=1: there are env=K=V", "bogus=1 -- /hello", program)
    refused(ctx, "loglevel=loud: a number from 0 to 7", "loglevel=loud -- /hello", program)
    refused(ctx, "loglevel=8: a number from 0 to 7", "loglevel=8 -- /hello", program)
    refused(ctx, "kernel option noaslr: it takes no value", "noaslr=1 -- /hello", program)
    refused(ctx, "kernel option env: it needs a value", "env -- /hello", program)
    refused(ctx, "more than 63 kernel options", "noaslr " * 70 + "-- /hello", program)
