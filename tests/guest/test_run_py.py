"""scripts/run.py as a user meets it: exit statuses, Ctrl-C, and one clear line for each thing that can be wrong."""
import os
import re
import signal
import socket
import struct
import subprocess
import time

from solaster import build, network
from solaster.guest import free_port
from solaster.report import UserError
from solaster.testing import guest_test, host_test

RUN = str(build.ROOT / "scripts/run.py")


def run(*args, timeout=50):
    return subprocess.run([RUN, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def must_fail(pattern, *args):
    """It ends with a non-zero status, and the last thing it says is one line that matches."""
    result = run(*args)
    lines = result.stderr.strip().splitlines()
    assert result.returncode != 0, "%s ended with 0" % (args,)
    assert "Traceback" not in result.stderr, result.stderr
    assert lines and re.search(pattern, lines[-1]), "%s: expected /%s/, it said:\n%s" % (args, pattern, result.stderr)


@host_test(modes=("release",))
def test_wrong_options_are_one_line(ctx):
    must_fail("no program named nosuch; there are: .*", "nosuch")
    must_fail("unrecognized arguments: --frobnicate", "memcached", "--frobnicate")
    must_fail("--machine", "memcached", "--machine", "pc")
    must_fail("--cpus 0: at least one", "memcached", "--cpus", 0)
    must_fail("--memory 4M: too little", "tests/abi/print_line", "--memory", "4M")
    must_fail("--memory much: not a size", "tests/abi/print_line", "--memory", "much")
    must_fail("--memory 90000G: this machine has", "tests/abi/print_line", "--memory", "90000G")
    must_fail("--publish", "tests/abi/print_line", "--publish", "eleven")
    must_fail("--net", "tests/abi/print_line", "--net", "carrier-pigeon")
    must_fail("sanitize.*--host|only with --host", "memcached", "--build-mode", "sanitize")


@host_test(modes=("release",))
def test_wrong_programs_are_one_line(ctx):
    folder = ctx.folder
    good = ctx.program("tests/abi/print_line").read_bytes()
    for name, data in (("text", b"#!/bin/sh\n"), ("empty", b""), ("cut", good[:3000]), ("head", good[:40])):
        (folder / name).write_bytes(data)
    arm = bytearray(good)
    struct.pack_into("<H", arm, 18, 183)
    (folder / "arm").write_bytes(arm)
    must_fail("no such program", folder / "absent")
    must_fail("is a folder", folder)
    must_fail("not an ELF file", folder / "text")
    must_fail("not an ELF file", folder / "empty")
    must_fail("cut short", folder / "cut")
    must_fail("damaged ELF", folder / "head")
    must_fail("for aarch64", folder / "arm")
    must_fail("dynamically linked", "/bin/true")


def writable_and_executable(program):
    """The program with one segment that the kernel, and not run.py, refuses."""
    data = bytearray(program)
    phoff, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, flags = struct.unpack_from("<II", data, phoff + i * size)
        if kind == 1 and flags == 5:
            struct.pack_into("<I", data, phoff + i * size + 4, 7)
    return bytes(data)


@host_test(modes=("release",))
def test_a_program_that_the_kernel_refuses_is_not_a_panic(ctx):
    bad = ctx.folder / "bad"
    bad.write_bytes(writable_and_executable(ctx.program("tests/abi/print_line").read_bytes()))
    bad.chmod(0o755)
    result = run(bad, "--net", "none")
    assert result.returncode == 126, result
    assert "both writable and executable" in result.stdout + result.stderr, result
    assert "panicked" not in result.stderr, result.stderr


@host_test(modes=("release",))
def test_taken_ports_and_absent_taps_are_one_line(ctx):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        must_fail("port %d .*cannot be used" % taken.getsockname()[1], "tests/abi/print_line", "--publish",
                  "%d:80" % taken.getsockname()[1])
    must_fail("there is no tap sol-none", "tests/abi/print_line", "--net", "tap=sol-none")
    must_fail("not a tap", "tests/abi/print_line", "--net", "tap=lo")
    must_fail("cannot write", "tests/abi/print_line", "--pcap", "/proc/nothing/here")


@host_test(modes=("release",))
def test_no_rights_on_a_tap_is_one_line(ctx):
    ctx.own_network()
    ctx.tap("tap0")
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            network.check_tap("tap0")
        except UserError as error:
            os._exit(0 if "no rights" in str(error) and "\n" not in str(error) else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


@guest_test()
def test_guest_status_is_the_commands_status(ctx):
    result = run("tests/abi/print_line", "--machine", ctx.machine)
    assert (result.returncode, result.stdout) == (0, "a line\n"), (result.returncode, result.stdout, result.stderr)


@guest_test()
def test_ctrl_c_stops_memcached(ctx):
    port = free_port()
    process = subprocess.Popen([RUN, "memcached", "--machine", ctx.machine, "--publish", "%d:11211" % port],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        with ctx.connect(port, timeout=30) as s:
            s.sendall(b"version\r\n")
            assert s.recv(100).startswith(b"VERSION")
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - start < 5
        assert "memcached" in process.stderr.read()
    finally:
        process.kill()
        process.wait()


@host_test(modes=("release",))
def test_the_process_and_the_guest_run_the_same_file(ctx):
    """What run.py packs into the initrd is the product, byte for byte."""
    from solaster.guest import pack_program
    data = ctx.program("memcached").read_bytes()
    assert data in pack_program(data, "memcached")
