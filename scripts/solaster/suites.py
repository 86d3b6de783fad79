"""Finds and runs the cases of each kind: GoogleTest programs, ABI programs, Python files. Used by test.py."""
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import build, elf, qemu
from .case import SKIPPED, cases
from .guest import Guest, die_with_parent, kernel_path
from .report import MachineError, UserError

PASSED, FAILED, SKIP = "passed", "failed", "skipped"
GTEST_SECONDS = 900
ABI_SECONDS = 30
ABI_GUESTS = [(m, c) for m in qemu.MACHINES for c in (1, 2, 4)]
SANITIZER_ENV = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
                 "UBSAN_OPTIONS": "print_stacktrace=1"}


@dataclasses.dataclass
class Result:
    name: str
    outcome: str
    output: str = ""


def run_group(argv, timeout, env=None, stdin=None, stderr=subprocess.STDOUT):
    """Runs a command and, at the deadline, ends it with all its children. Returns (status or None, output bytes)."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=out, env=env, start_new_session=True,
                                   stderr=out if stderr == subprocess.STDOUT else stderr, preexec_fn=die_with_parent)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        out.seek(0)
        return status, out.read()


def text(data, limit=20000):
    out = data.decode(errors="replace")
    return out if len(out) <= limit else "[...]\n" + out[-limit:]


def describe(status):
    if status is None:
        return "took too long"
    return "was ended by signal %d" % -status if status < 0 else "ended with status %d" % status


# ---------------------------------------------------------------- GoogleTest programs

class GtestSuite:
    """One binary, run once with a filter of the wanted cases."""

    def __init__(self, mode, path):
        self.mode, self.path = mode, path
        self.name = "%s/%s" % (mode, path.name)
        self.cases = self._list()
        self.total = len(self.cases)

    def _list(self):
        result = subprocess.run([str(self.path), "--gtest_list_tests"], capture_output=True, text=True, timeout=60)
        if result.returncode != 0:
            raise UserError("%s --gtest_list_tests failed: %s" % (self.path, result.stderr.strip()[-300:]))
        found, group = [], ""
        for line in result.stdout.splitlines():
            word = line.split("#")[0].rstrip()
            if word.endswith(".") and not line.startswith(" "):
                group = word
            elif line.startswith("  ") and group:
                found.append("%s/%s%s" % (self.name, group, word.strip()))
        return found

    def run(self, wanted):
        names = {c: c[len(self.name) + 1:] for c in wanted}
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            env = dict(os.environ, **SANITIZER_ENV, GTEST_OUTPUT="json:" + report.name)
            if len(wanted) < self.total:
                env["GTEST_FILTER"] = ":".join(names.values())
            status, output = run_group([str(self.path)], GTEST_SECONDS, env)
            outcomes = self._read(report.name)
        log = text(output, 400000)
        for case, short in names.items():
            outcome = outcomes.get(short)
            if outcome is None:
                started = "[ RUN      ] %s\n" % short in log and "] %s (" % short not in log
                ok = re.search(r"\[       OK \] %s \(" % re.escape(short), log)
                outcome = PASSED if ok else FAILED
                if outcome == FAILED:
                    why = "%s %s" % (self.path.name, describe(status) + (" in this case" if started else " before it"))
                    yield Result(case, FAILED, why + "\n" + (self._own_part(log, short) if started else ""))
                    continue
            yield Result(case, outcome, self._own_part(log, short) if outcome != PASSED else "")
        if status != 0 and not any(o == FAILED for o in outcomes.values()) and outcomes:
            yield Result(self.name, FAILED, "%s %s after its cases\n%s" % (self.path.name, describe(status), log[-4000:]))

    @staticmethod
    def _read(path):
        try:
            data = json.loads(Path(path).read_text())
        except ValueError:
            return {}
        out = {}
        for group in data.get("testsuites", ()):
            for case in group["testsuite"]:
                kind = FAILED if "failures" in case else SKIP if case.get("result") == "SKIPPED" else PASSED
                out["%s.%s" % (group["name"], case["name"])] = kind
        return out

    @staticmethod
    def _own_part(log, short):
        at = log.find("[ RUN      ] %s\n" % short)
        if at < 0:
            return ""
        end = log.find("[ RUN      ]", at + 10)
        return log[at:end if end > 0 else at + 20000][-20000:]


# ---------------------------------------------------------------- ABI programs

class AbiSuite:
    """A Linux program that must print the same on Linux and in the guest.

    A line near the top of its source may say `// abi: key=value ...`: cpus=1,2 machines=q35 memory=64M timeout=60
    args="a b" options="loglevel=0" (kernel options) env=K=V stderr=1 (compare that too, it is the guest's console).
    """

    def __init__(self, mode, source):
        self.mode, self.source = mode, source
        self.path = build.out(mode) / "tests/abi" / source.stem
        self.name = "%s/abi/%s" % (mode, source.stem)
        self.marks = self._marks()
        wanted = [(m, c) for m, c in ABI_GUESTS
                  if m in self.marks.get("machines", "microvm,q35").split(",") and
                  str(c) in self.marks.get("cpus", "1,2,4").split(",")]
        if mode == "debug":
            wanted = wanted[:1]
        self.guests = {"%s[%s,%d]" % (self.name, m, c): (m, c) for m, c in wanted}
        self.cases = [self.name + "[linux]", *self.guests]
        self._expected = None

    def _marks(self):
        head = "\n".join(self.source.read_text(errors="replace").splitlines()[:40])
        match = re.search(r"^//\s*abi:\s*(.*)$", head, re.M)
        return dict(word.partition("=")[::2] for word in shlex.split(match[1])) if match else {}

    def run(self, wanted):
        args = shlex.split(self.marks.get("args", ""))
        timeout = float(self.marks.get("timeout", ABI_SECONDS))
        env = {"PATH": "/", "HOME": "/"}
        if "env" in self.marks:
            key, _, value = self.marks["env"].partition("=")
            env[key] = value
        status, output = run_group([str(self.path), *args], timeout, env, stderr=subprocess.DEVNULL
                                   if self.marks.get("stderr") != "1" else subprocess.STDOUT)
        linux = Result(self.name + "[linux]", PASSED)
        if status != int(self.marks.get("exit", 0)):
            linux = Result(linux.name, FAILED, "on Linux it %s\n%s" % (describe(status), text(output)))
        if linux.name in wanted or linux.outcome == FAILED:
            yield linux
        for case, (machine, cpus) in self.guests.items():
            if case not in wanted:
                continue
            if linux.outcome == FAILED:
                yield Result(case, FAILED, "it failed on Linux already")
            else:
                yield self._in_guest(case, machine, cpus, args, timeout, status, text(output, 1 << 30))

    def _in_guest(self, case, machine, cpus, args, timeout, linux_status, expected):
        vm = qemu.Machine(machine=machine, cpus=cpus, memory=self.marks.get("memory", "128M"),
                          accel=qemu.choose_accel(os.environ.get("SOLASTER_ACCEL", "auto")))
        options = shlex.split(self.marks.get("options", ""))
        options += ["env=" + self.marks["env"]] if "env" in self.marks else []
        with Guest(vm, kernel_path(build.out(self.mode)), elf.check_static_program(self.path), args,
                   name=self.path.name, options=options) as guest:
            try:
                status = guest.wait(timeout)
            except subprocess.TimeoutExpired:
                return Result(case, FAILED, "no end within %g s; the console shows:\n%s" % (timeout, guest.output[-8000:]))
            except (UserError, MachineError) as error:
                return Result(case, FAILED, "%s; the console shows:\n%s" % (error, guest.output[-8000:]))
            output = without_kernel_lines(guest.output)
        want = linux_status if linux_status >= 0 else 128 - linux_status
        if output == expected and status == want:
            return Result(case, PASSED)
        return Result(case, FAILED, "status %d, on Linux %d\n%s" % (status, want, difference(expected, output)) +
                      ("" if output == guest.output else "\nthe whole console:\n" + guest.output[-8000:]))


def without_kernel_lines(output):
    """The console without the kernel's own log lines."""
    return re.sub(r"^(\[ *[\d.]+\] )?solaster: .*\n?", "", output, flags=re.M)


def difference(expected, found):
    import difflib
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "on Linux", "in the guest", lineterm="", n=2)
    return "\n".join(list(lines)[:80])


# ---------------------------------------------------------------- Python files

class PythonSuite:
    def __init__(self, mode, path):
        self.mode, self.path = mode, path
        kind = path.parent.name
        self.name = "%s/%s/%s" % (mode, kind, path.stem)
        self.plan = {}
        for name, marks in cases(path):
            if marks is None:
                raise UserError("%s: %s has no @host_test() or @guest_test()" % (path, name))
            if mode not in marks["modes"]:
                continue
            guests = marks["guests"][:1] if mode == "debug" else marks["guests"]
            for guest in guests:
                case = "%s.%s" % (self.name, name) + ("[%s,%d]" % guest if guest else "")
                self.plan[case] = (name, guest or ("-", 1), marks["timeout"])
        self.cases = list(self.plan)

    def run(self, wanted):
        env = dict(os.environ, **SANITIZER_ENV, PYTHONPATH=str(build.ROOT / "scripts"), PYTHONDONTWRITEBYTECODE="1",
                   PYTHONUNBUFFERED="1")
        for case in wanted:
            name, (machine, cpus), timeout = self.plan[case]
            status, output = run_group([sys.executable, "-m", "solaster.case", str(self.path), name, self.mode, machine,
                                        str(cpus)], timeout, env)
            out = text(output)
            if status == 0:
                yield Result(case, PASSED)
            elif status == SKIPPED:
                yield Result(case, SKIP, out.strip().splitlines()[-1] if out.strip() else "")
            else:
                yield Result(case, FAILED, "it %s\n%s" % (describe(status), out))


class ProgramSuite:
    """A program that only has to have been built: the tutorial's. Also stands for what is not built, to say so."""

    def __init__(self, mode, path):
        self.path, self.name = path, "%s/%s" % (mode, path.relative_to(build.out(mode) / "tests"))
        self.cases = [self.name]

    def run(self, wanted):
        yield Result(self.name, PASSED if self.path.exists() else FAILED, "it is not built")


def find_suites(mode):
    out, tests = build.out(mode), build.ROOT / "tests"
    targets = build.known_targets()
    for name in ("unit_net", "unit_framework", "unit_apps", "unit_kernel", "drill", "sim"):
        if "build/%s/tests/%s" % (mode, name) in targets:
            path = out / "tests" / name
            yield GtestSuite(mode, path) if path.exists() else ProgramSuite(mode, path)
    for target in sorted(t for t in targets if re.fullmatch(r"build/%s/tests/tutorial/\w+" % mode, t)):
        yield ProgramSuite(mode, build.ROOT / target)
    if mode != "sanitize" and "build/%s/solaster-kernel.elf" % mode in targets:
        for source in sorted([*tests.glob("abi/*.c"), *tests.glob("abi/*.cc")]):
            suite = AbiSuite(mode, source)
            yield suite if suite.path.exists() else ProgramSuite(mode, suite.path)
    for folder in ("guest", "interop"):
        for path in sorted((tests / folder).glob("test_*.py")):
            yield PythonSuite(mode, path)


def targets_of(mode):
    """What ninja has to build for the mode's suites; the kernel is never built with sanitizers."""
    known = build.known_targets()
    groups = ["libs", "programs", "tests"] + (["kernel", "abi"] if mode != "sanitize" else [])
    return [name for name in ("%s-%s" % (mode, g) for g in groups) if name in known]


def timed(suite, wanted):
    start = time.monotonic()
    results = []
    try:
        for result in suite.run(wanted):
            results.append(result)
    except (UserError, MachineError, OSError) as error:
        seen = {r.name for r in results}
        results += [Result(name, FAILED, str(error)) for name in wanted if name not in seen]
    return results, time.monotonic() - start
