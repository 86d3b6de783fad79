"""What a developer has when a program goes wrong: backtraces that name the true callers, the same in both hosts, and gdb."""
import os
import re
import signal
import subprocess
import time

from solaster import build
from solaster.testing import guest_test

RUN = str(build.ROOT / "scripts/run.py")
CRASH = "tests/tools/crash_in_coroutine"
WAITED = ["(anonymous)::innermost.resume", "solaster::internal::coroutine_promise<>::resume", "solaster::reactor::run"]
# What was called, innermost first, from the function that did wrong on.
CALLERS = {
    "null": ["(anonymous)::write_null", "(anonymous)::end_badly", *WAITED],
    "abort": ["raise", "abort", "(anonymous)::end_badly", *WAITED],
    "throw": ["raise", "abort", "__gnu_cxx::__verbose_terminate_handler.cold", "__cxxabiv1::__terminate", "std::terminate",
              "__clang_call_terminate", "(anonymous)::throw_where_nothing_may", "(anonymous)::end_badly", *WAITED],
    "bad-string": ["__vfprintf_internal", "__vsnprintf_internal", "__snprintf", "(anonymous)::print_bad_string",
                   "(anonymous)::end_badly", *WAITED],
    "overflow": ["(anonymous)::recurse", "(anonymous)::recurse", "(anonymous)::end_badly", *WAITED],
}
REASONS = {"null": "SIGSEGV: null pointer dereference: write to address 0x18", "abort": "SIGABRT: abort() was called",
           "throw": "SIGABRT: abort() was called", "bad-string": "SIGSEGV: null pointer dereference: read of address 0x18",
           "overflow": "SIGSEGV: stack overflow: write to address 0x"}
STATUS = {"null": 139, "abort": 134, "throw": 134, "bad-string": 139, "overflow": 139}


def check_report(way, output):
    """The report's reason and frames; returns the functions' names."""
    assert "killed by " + REASONS[way] in output, output
    names = re.findall(r"^\S+   #\d+ [0-9a-f]{16} (\S+)\+0x", output, re.M)
    wanted = CALLERS[way]
    assert wanted[0] in names[:2], output
    start = names.index(wanted[0])
    assert names[start:start + len(wanted)] == wanted, "expected %s\n%s" % (wanted, output)
    assert names[-3:] == ["__libc_start_call_main", "__libc_start_main", "_start"], output
    return names[start:]


@guest_test(guests=[("microvm", 1), ("q35", 2)], timeout=120)
def test_a_crash_after_a_wait_names_its_true_callers_in_both_hosts(ctx):
    for way in CALLERS:
        with ctx.guest(CRASH, ["--smp", "1", way], net="none") as guest:
            assert guest.wait(30) == STATUS[way], guest.output
            in_guest = check_report(way, guest.output)
        result = ctx.run(CRASH, ["--smp", "1", way])
        assert -result.returncode == STATUS[way] - 128, result
        assert check_report(way, result.stderr) == in_guest, (in_guest, result.stderr)


@guest_test(guests=[("microvm", 1)], timeout=90)
def test_a_crash_on_another_shard_is_reported_once(ctx):
    result = ctx.run(CRASH, ["--smp", "2", "--on-shard", "1", "overflow"])
    assert result.returncode == -signal.SIGSEGV, result
    assert result.stderr.count("killed by SIGSEGV: stack overflow") == 1, result.stderr


class Debugged:
    def __init__(self, ctx, *args):
        self._log = open(ctx.folder / "log", "wb+")
        self.process = subprocess.Popen([RUN, "--gdb", *args], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                                        cwd=ctx.root)

    def wait_for(self, pattern, seconds=50):
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.output)):
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return match

    @property
    def output(self):
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


@guest_test(timeout=120)
def test_gdb_knows_the_kernel_and_the_program(ctx):
    gdb = ctx.need("gdb")
    with Debugged(ctx, CRASH, "--machine", ctx.machine, "--net", "none", "--", "null") as run:
        script = run.wait_for(r"waiting for gdb on port \d+: gdb -x (\S+)")[1]
        run.wait_for("booting")
        result = subprocess.run(
            [gdb, "-nx", "-batch", "-x", str(ctx.root / script), "-ex", "break solaster::kernel::task::start_program",
             "-ex", "continue", "-ex", "backtrace 1", "-ex", "hbreak write_null", "-ex", "continue", "-ex", "backtrace 3",
             "-ex", "delete", "-ex", "detach"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=80)
        said = result.stdout + result.stderr
        assert re.search(r"#0 .*start_program \(\) at .*kernel/task/start.cc:\d+", said), said
        assert re.search(r"#0 .*write_null \(\) at .*crash_in_coroutine.cc:\d+", said), said
        assert re.search(r"#1 .*end_badly \(way=", said), said
        assert run.process.wait(30) == 139, run.output


@guest_test(guests=[("microvm", 1)], timeout=60)
def test_one_ctrl_c_ends_a_guest_that_waits_for_gdb(ctx):
    with Debugged(ctx, "tests/abi/print_line") as run:
        run.wait_for("booting")
        time.sleep(0.5)  # QEMU's first word about itself
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(2.5) == 130, run.output
        assert "stands still" in run.output, run.output
