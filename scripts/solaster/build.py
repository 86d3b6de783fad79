"""Packages, configuration and building, each done only when needed and said when done."""
import os
import re
import subprocess
import sys
from pathlib import Path

from .report import UserError, detail, say

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
MODES = ("release", "debug", "sanitize")


def out(mode):
    return BUILD / mode


def ensure_packages():
    """Installs what setup.sh lists, if anything is missing."""
    setup = ROOT / "scripts/setup.sh"
    check = subprocess.run([str(setup), "--check"], capture_output=True, text=True)
    if check.returncode == 0:
        return
    say("this machine lacks packages; running scripts/setup.sh")
    if subprocess.run([str(setup)], stdout=sys.stderr).returncode != 0:
        raise UserError("scripts/setup.sh failed (its output is above); %s" % check.stdout.strip())


def configured_modes():
    try:
        text = (ROOT / "build.ninja").read_text()
    except OSError:
        return []
    match = re.search(r"^default (.*)$", text, re.M)
    return match[1].split() if match else []


def ensure_configured(modes):
    have = configured_modes()
    if all(mode in have for mode in modes):
        # A source folder may have changed since: ninja then writes its file anew.
        result = subprocess.run(["ninja", "build.ninja"], cwd=ROOT, capture_output=True, text=True)
        if result.returncode != 0:
            raise UserError("configure.py failed: %s" % (result.stderr + result.stdout).strip())
        return
    wanted = sorted(set(have) | set(modes))
    say("configuring %s" % ", ".join(wanted))
    command = [sys.executable, str(ROOT / "configure.py"), *("--mode=" + m for m in wanted)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError("configure.py failed: %s" % (result.stderr.strip() or result.stdout.strip()))


def known_targets():
    result = subprocess.run(["ninja", "-t", "targets", "all"], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError("ninja cannot read build.ninja: %s" % result.stderr.strip())
    return {line.split(":")[0] for line in result.stdout.splitlines()}


def build(targets, keep_going=False):
    """Builds the targets; ninja's own progress is shown only when there is work to do."""
    dry = subprocess.run(["ninja", "-n", *targets], cwd=ROOT, capture_output=True, text=True)
    if dry.returncode == 0 and "no work to do" in dry.stdout:
        detail("nothing to build")
        return
    steps = re.findall(r"^\[\d+/(\d+)\]", dry.stdout, re.M)
    say("building %s%s" % (" ".join(targets), " (%s steps)" % steps[-1] if steps else ""))
    command = ["ninja", *(["-k", "0"] if keep_going else []), *targets]
    env = dict(os.environ)
    env.setdefault("NINJA_STATUS", "[%f/%t] ")
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, env=env).returncode != 0:
        raise UserError("the build failed (the compiler's words are above)")
