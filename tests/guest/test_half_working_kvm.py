"""Machines on which /dev/kvm is there and does not run guests, played by a wrapper around QEMU; and guests that do not end."""
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

from solaster import build, network, qemu, servers
from solaster.guest import Guest, free_port, kernel_path
from solaster.report import MachineError, UserError
from solaster.testing import Skip, guest_test

RUN = str(build.ROOT / "scripts/run.py")
ERROR_LINES = 'echo "KVM internal error. Suberror: 1" >&2; echo "emulation failure" >&2; echo "RAX=0000 RBX=0000" >&2'
# Started with -accel kvm: a real QEMU that stays paused after the error.
PAUSES = """case " $* " in *" -accel kvm "*)
  %s
  exec %s $(echo "$@" | sed 's/-append.*//; s/-accel kvm -cpu host/-accel tcg -cpu max -S/') ;;
esac
"""
# No monitor, no word: it just stays.
HANGS = 'case " $* " in *" -accel kvm "*) exec sleep 1000 ;; esac\n'
# As PAUSES, by a program that passes on no descriptors and stays between us and QEMU.
PASSES_NOTHING = """exec python3 -c '
import subprocess, sys
a = sys.argv[1:]
if "kvm" in a:
    print("KVM internal error. Suberror: 1\\nemulation failure", file=sys.stderr, flush=True)
    a = [w.replace("kvm", "tcg").replace("host", "max") if w in ("kvm", "host") else w for w in a] + ["-S"]
sys.exit(subprocess.run(["QEMU", *a]).returncode)
' "$@"
"""
# The probe passes; then a guest stops after a while.
LATER = """case "$*" in *accel_probe*) ;; *" -accel kvm "*) (sleep 1; %s) & ;; esac
for word; do shift; case "$word" in kvm) word=tcg ;; host) word=max ;; esac; set -- "$@" "$word"; done
"""


def wrapper(ctx, body):
    """A folder for PATH in which QEMU's name is a script's: `body`, then the real one."""
    folder = ctx.folder / "bin"
    folder.mkdir(exist_ok=True)
    real = shutil.which(qemu.BINARY)
    path = folder / qemu.BINARY
    path.write_text("#!/bin/sh\n" + body.replace("QEMU", real) + 'exec %s "$@"\n' % real)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return dict(os.environ, PATH="%s:%s" % (folder, os.environ["PATH"]))


def need_kvm_file():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm to be half-working")


class Command:
    """run.py with its words in one file; ends with the block."""

    def __init__(self, ctx, env, *args):
        self._log = open(ctx.folder / "log", "wb+")
        self.process = subprocess.Popen([RUN, *map(str, args)], stdin=subprocess.DEVNULL, stdout=self._log,
                                        stderr=self._log, env=env)

    @property
    def output(self):
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait_for(self, text, seconds=50):
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


def falls_back(ctx, body, why):
    port = free_port()
    with Command(ctx, wrapper(ctx, body), "memcached", "--machine", ctx.machine, "--publish", "%d:11211" % port) as run:
        run.wait_for("serving on localhost:%d" % port)
        assert why in run.output and "tcg" in run.output, run.output
        with ctx.connect(port) as s:
            s.sendall(b"version\r\n")
            assert s.recv(100).startswith(b"VERSION")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(10) == 0, run.output


@guest_test(timeout=90)
def test_memcached_serves_where_kvm_pauses_in_an_internal_error(ctx):
    need_kvm_file()
    falls_back(ctx, PAUSES % (ERROR_LINES, "QEMU"), "KVM internal error. Suberror: 1, emulation failure")


@guest_test(machines=("microvm",), timeout=90)
def test_a_wrapper_may_stay_and_pass_on_nothing(ctx):
    need_kvm_file()
    falls_back(ctx, PASSES_NOTHING, "KVM internal error. Suberror: 1, emulation failure")


@guest_test(machines=("microvm",), timeout=90)
def test_memcached_serves_where_kvm_hangs_in_silence(ctx):
    need_kvm_file()
    falls_back(ctx, HANGS, "did not end in")


@guest_test(machines=("microvm",), timeout=90)
def test_an_internal_error_at_any_time_ends_the_command_and_is_remembered(ctx):
    need_kvm_file()
    env = wrapper(ctx, LATER % ERROR_LINES)
    with Command(ctx, env, "memcached", "--publish", "%d:11211" % free_port()) as run:
        assert run.process.wait(60) == 1, run.output
        last = run.output.strip().splitlines()[-1]
        assert "KVM internal error. Suberror: 1, emulation failure; " in last and "--accel tcg" in last, run.output
        assert "KVM works" in run.output, run.output
    with Command(ctx, env, "tests/abi/print_line") as run:
        assert run.process.wait(60) == 0 and "a line" in run.output and "tcg" in run.output, run.output


@guest_test(machines=("q35",), timeout=90)
def test_an_internal_error_ends_a_comparison(ctx):
    """Not the row that it happens to: the next one would fare no better."""
    need_kvm_file()
    if not network.can_enter_namespace():
        raise Skip("no right to make a network namespace")
    servers.make_network(1)
    os.environ.update(wrapper(ctx, LATER % ERROR_LINES))
    try:
        with servers.OursInUnikernel(servers.Settings(accel="kvm")).start() as running:
            wait_until_gone(running.pid)
            raise UserError("the load generator has lost its connections")
    except MachineError as error:
        assert "KVM internal error. Suberror: 1, emulation failure; " in str(error) and "--accel tcg" in str(error)
    else:
        raise AssertionError("nothing was raised")


def wait_until_gone(pid):
    deadline = time.monotonic() + 30
    while "State:\tZ" not in Path("/proc/%d/status" % pid).read_text():
        assert time.monotonic() < deadline, "QEMU goes on"
        time.sleep(0.05)


@guest_test(machines=("microvm",))
def test_a_guest_that_qemu_keeps_paused_fails_its_test(ctx):
    vm = qemu.Machine(machine=ctx.machine, accel="tcg", memory="64M", extra=["-S"])
    with Guest(vm, kernel_path(ctx.out), append="selftest=hello") as guest:
        try:
            guest.wait(20)
            raise AssertionError("it ended")
        except MachineError as error:
            assert "QEMU's run state is prelaunch" in str(error), error


@guest_test(timeout=90)
def test_ctrl_c_ends_a_guest_that_does_not_answer(ctx):
    with Command(ctx, None, "tests/abi/crash", "--machine", ctx.machine, "--", "ignore-interrupt") as run:
        run.wait_for("waiting")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(30) == 130, run.output
        assert "did not answer for 3 s" in run.output, run.output


@guest_test(machines=("microvm",), timeout=90)
def test_a_second_ctrl_c_ends_it_at_once(ctx):
    with Command(ctx, None, "tests/abi/crash", "--", "ignore-interrupt") as run:
        run.wait_for("waiting")
        run.process.send_signal(signal.SIGINT)
        run.wait_for("stopping")
        time.sleep(0.3)  # what comes sooner is timeout(1)'s second signal
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(30) == 130, run.output
        assert "forced" in run.output and "did not answer" not in run.output, run.output
