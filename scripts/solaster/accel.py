"""Which accelerator runs a guest here. That /dev/kvm can be opened proves nothing, nor do a few instructions: some machines
execute simple code and stop at the first restoring of vector state, on others QEMU itself aborts. So our own kernel is booted with
tests/abi/accel_probe.cc (vector state, threads, timers), and it must end with its status before a deadline."""
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from . import build, elf, qemu
from .guest import Guest, kernel_path
from .report import MachineError, UserError, detail, say

PROBE_PROGRAM = "tests/abi/accel_probe"
PROBE_STATUS = 42
PROBE_SECONDS = 15
PROBE_VERSION = 2
# A busy machine can miss the deadline: such an answer is asked for again after a while.
TIMEOUT_VALID_SECONDS = 3600
CACHE = build.BUILD / "accel.json"


def choose(wanted, mode):
    """"kvm" or "tcg". The answer of the probe is kept under build/ until QEMU, the host's boot, its CPU or the rights change."""
    if wanted == "tcg":
        return "tcg"
    if not os.path.exists("/dev/kvm"):
        works, why = False, "there is no /dev/kvm"
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        works, why = False, "no right to open /dev/kvm"
    else:
        works, why = _probe_cached(mode, trust_failure=wanted == "auto")
    if wanted == "kvm" and not works:
        raise UserError("KVM does not work here (%s); use --accel tcg" % why)
    detail("accelerator: %s" % ("kvm" if works else "tcg (%s)" % why))
    return "kvm" if works else "tcg"


def probe(accel, mode="release", machine="microvm", cpus=2):
    """Whether a guest runs under this accelerator. Returns (works, why not, whether a second try may go otherwise)."""
    program = build.out(mode) / PROBE_PROGRAM
    if not program.exists() or not (build.out(mode) / "solaster-kernel.elf").exists():
        build.build(["build/%s/%s" % (mode, PROBE_PROGRAM), "build/%s/solaster-kernel.elf" % mode])
    vm = qemu.Machine(machine=machine, accel=accel, cpus=cpus, memory="64M")
    try:
        with Guest(vm, kernel_path(build.out(mode)), elf.check_static_program(program), name="accel_probe") as guest:
            status = guest.wait(PROBE_SECONDS)
            if status == PROBE_STATUS:
                return True, "", False
            said = guest.output.strip().splitlines()
            return False, "a test guest ended with status %d%s" % (status, ": " + said[-1] if said else ""), False
    except subprocess.TimeoutExpired:
        return False, "a test guest did not end in %d s" % PROBE_SECONDS, True
    except MachineError as error:
        return False, error.reason, False
    except UserError as error:
        return False, str(error), False


def remember_failure(why):
    """A guest has stopped in an internal error although the probe had passed: the next start emulates."""
    _write_cache(False, why, False)


def _probe_cached(mode, trust_failure):
    saved = _read_cache().get(qemu.binary_path(), {})
    if saved.get("key") == _key() and time.time() < saved["until"] and (saved["works"] or trust_failure):
        return saved["works"], saved["why"]
    say("trying whether KVM runs a guest here")
    works, why, is_uncertain = probe("kvm", mode)
    say("KVM works" if works else "KVM does not work (%s)" % why)
    _write_cache(works, why, is_uncertain)
    return works, why


def _key():
    """What the answer depends on."""
    path = qemu.binary_path()
    binary = os.stat(path)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # A saved machine may be started again elsewhere: same boot, another CPU.
        cpu = re.findall(r"^(?:model name|flags|microcode)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.M)[:3]
    except OSError:
        boot, cpu = "", []
    return [PROBE_VERSION, binary.st_mtime, binary.st_size, boot, os.getuid(), os.stat("/dev/kvm").st_mtime,
            hashlib.sha256("\n".join(cpu).encode()).hexdigest()]


def _read_cache():
    """{path of QEMU: its answer}"""
    try:
        saved = json.loads(CACHE.read_text())
        return {path: entry for path, entry in saved.items() if {"key", "works", "why", "until"} <= set(entry)}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write_cache(works, why, is_uncertain):
    until = time.time() + (TIMEOUT_VALID_SECONDS if is_uncertain else 10 * 365 * 86400)
    entries = {path: entry for path, entry in _read_cache().items() if os.path.exists(path)}
    entries[qemu.binary_path()] = {"key": _key(), "works": works, "why": why, "until": until}
    try:
        CACHE.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=CACHE.parent, delete=False) as f:
            json.dump(entries, f)
        os.replace(f.name, CACHE)  # whole: tests ask from several processes
    except OSError:
        pass
