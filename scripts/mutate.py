#!/usr/bin/env python3
"""Break the code on purpose and see whether a test notices.

    scripts/mutate.py --count 50 --seed 1             fifty small mutations all over net/, framework/, apps/ and kernel/
    scripts/mutate.py --only net/tcp --count 20       in one folder (or file)
    scripts/mutate.py --only net/tcp/rtt.hh:42        what can be done to one line, each

Each mutation changes one line: a comparison, an operator, a constant, a condition, a statement left out. It is applied in a
checkout of HEAD of its own (build/mutants), never in this one; built in debug mode, where invariants are walked; and the suites
that cover the file are run until one fails. What compiles to the same code is not counted. A survivor is a test that is missing
or code that is not needed: look at it. Exit status 0 however many survive. The same seed on the same tree gives the same ones.
"""
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from solaster import build, report
from solaster.report import UserError, say
from tidy import without_comments

TREE = build.BUILD / "mutants"
MODE = "debug"
TEST_SECONDS = 180

# Folder: GoogleTest programs to run, then a pattern of cases for test.py. The first that fails is enough.
COVERS = {
    "net": (["unit_net", "drill", "sim"], None),
    "framework": (["unit_framework", "unit_apps"], r"interop/test_(memcached|native_stack|hostile_clients)\."),
    "apps": (["unit_apps"], r"interop/test_memcached"),
    "kernel": (["unit_kernel"], r"(abi/|guest/test_(core|crash|start))"),
}
SKIP_LINES = re.compile(r"^\s*(#|static_assert|CHECK|DCHECK|template|using|namespace|friend|extern|case |default:|public:|private:)|"
                        r"\b(operator|static_assert|log|logger|print|format|panic|is_valid|SAFETY)\b|[\"']")
OPERATORS = [
    ("a comparison", r" < ", " <= "), ("a comparison", r" <= ", " < "), ("a comparison", r" > ", " >= "),
    ("a comparison", r" >= ", " > "), ("a comparison", r" == ", " != "), ("a comparison", r" != ", " == "),
    ("and, or", r" && ", " || "), ("and, or", r" \|\| ", " && "),
    ("plus, minus", r"(?<=[\w)\]]) \+ (?=[\w(])", " - "), ("plus, minus", r"(?<=[\w)\]]) - (?=[\w(])", " + "),
    ("plus, minus", r" \+= ", " -= "), ("plus, minus", r" -= ", " += "),
    ("the answer", r"\breturn true;", "return false;"), ("the answer", r"\breturn false;", "return true;"),
    ("min, max", r"\bstd::min\b", "std::max"), ("min, max", r"\bstd::max\b", "std::min"),
    ("a condition", r"\bif \((?!constexpr)(.*)\)( \{)?$", r"if (!(\1))\2"),
    ("a constant", r"(?<![\w.'])([1-9]\d?)(?![\w.'])", lambda m: str(int(m[1]) + 1)),
    ("a statement left out", r"^(\s+)(?!return\b|co_return\b|break\b|continue\b|else\b|delete\b|goto\b)"
                             r"([\w.\->:\[\]*&]+(\(.*\)|\s[-+|&^]?=\s[^;]*|(\+\+|--)));$", r"\1;"),
]


def parse_arguments():
    p = report.Parser(prog="mutate.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=50, help="mutations that count (default 50)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", metavar="PATH[:LINE]", action="append", help="repeatable; a folder, a file, or one line of one")
    p.add_argument("--quick", action="store_true", help="GoogleTest programs only, no guests and no interoperation")
    p.add_argument("--json", metavar="FILE", help="write the table there too")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    if args.count < 1:
        raise UserError("--count must be at least 1")
    return args


def run(command, cwd=TREE, timeout=None):
    try:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
        return result.returncode, result.stdout + result.stderr
    except subprocess.TimeoutExpired:
        return None, "took too long"


def prepare_tree():
    """A checkout of HEAD below build/, with a build folder that stays from run to run."""
    head = run(["git", "rev-parse", "HEAD"], build.ROOT)[1].strip()
    if not (TREE / ".git").exists():
        run(["git", "worktree", "prune"], build.ROOT)
        status, said = run(["git", "worktree", "add", "--detach", str(TREE), head], build.ROOT)
    else:
        status, said = run(["git", "checkout", "--force", "--detach", head])
    if status != 0:
        raise UserError("no checkout for the mutations: %s" % said.strip()[-300:])
    if not (TREE / "build.ninja").exists():
        run([sys.executable, "configure.py", "--mode", MODE])
    say("building %s in build/mutants" % MODE)
    status, said = run(["ninja", MODE])
    if status != 0:
        raise UserError("HEAD does not build: %s" % said.strip()[-300:])


def sites(only):
    """[(path, line number, what, old line, new line)] of all that can be done."""
    out = []
    for top in COVERS:
        for path in sorted((TREE / top).rglob("*")):
            name = path.relative_to(TREE).as_posix()
            if path.suffix not in (".cc", ".hh") or not any(matches(name, o) for o in only or [""]):
                continue
            text = path.read_text()
            lines = text.splitlines()
            for number, code in enumerate(without_comments(text).splitlines(), 1):
                if SKIP_LINES.search(lines[number - 1]) or not any(matches(name, o, number) for o in only or [""]):
                    continue
                out += [(name, number, what, lines[number - 1], new) for what, new in changes(code.rstrip())]
    return out


def matches(name, wanted, number=None):
    path, _, line = wanted.partition(":")
    inside = name == path or name.startswith(path.rstrip("/") + "/") or not path
    return inside and (not line or number is None or int(line) == number)


def changes(code):
    for what, pattern, replacement in OPERATORS:
        for match in re.finditer(pattern, code):
            yield what, code[:match.start()] + match.expand(replacement) + code[match.end():] \
                if isinstance(replacement, str) else code[:match.start()] + replacement(match) + code[match.end():]


def object_bytes():
    """What is linked into the programs, without debug information: to tell a mutation that changes nothing."""
    return {p: p.read_bytes() for p in ((TREE / "build" / MODE / n) for n in ("tests/unit_net", "tests/unit_framework",
                                                                            "tests/unit_apps", "solaster-kernel.elf"))
            if p.exists()}


def try_out(name, before, quick):
    """(outcome, what noticed): the mutation is in the tree."""
    programs, pattern = COVERS[name.split("/")[0]]
    goals = ["build/%s/tests/%s" % (MODE, p) for p in ("unit_net", "unit_framework", "unit_apps")]
    goals += ["build/%s/solaster-kernel.elf" % MODE] * name.startswith(("kernel/", "net/"))
    status, said = run(["ninja", *goals, *("build/%s/tests/%s" % (MODE, p) for p in programs)], timeout=TEST_SECONDS)
    if status != 0:
        return "does not build", ""
    if all(before[p] == data for p, data in object_bytes().items() if p in before):
        return "same code", ""
    for program in programs:
        status, said = run(["build/%s/tests/%s" % (MODE, program), "--gtest_brief=1"], timeout=TEST_SECONDS)
        if status != 0:
            return "noticed", first_failure(program, status, said)
    if pattern and not quick:
        run(["ninja", MODE], timeout=TEST_SECONDS)
        status, said = run([sys.executable, "scripts/test.py", "--no-build", "--mode", MODE, "-x", "-k", pattern],
                           timeout=6 * TEST_SECONDS)
        if status != 0 and "no test matches" not in said:
            return "noticed", first_failure("test.py", status, said)
    return "SURVIVED", ""


def first_failure(program, status, said):
    match = re.search(r"^\[  FAILED  \] (\S+?),? ", said, re.M) or re.search(r"FAILED (\S+)", said) or \
        re.search(r"^(.*check failed.*|.*ERROR: .*Sanitizer.*)$", said, re.M)
    return "%s: %s" % (program, match[1][-110:] if match else "status %s" % status)


def show(row):
    print("%-10s %s:%d  %s\n           - %s\n           + %s%s" % (
        row["outcome"], row["path"], row["line"], row["what"], row["old"].strip(), row["new"].strip(),
        "\n           %s" % row["by"] if row["by"] else ""), flush=True)


def main():
    args = parse_arguments()
    report.VERBOSE = args.verbose
    build.ensure_packages()
    prepare_tree()
    found = sites(args.only)
    if not found:
        raise UserError("nothing to mutate in %s" % ", ".join(args.only or ["the tree"]))
    # By folder in turn, so that the largest does not take all.
    random.Random(args.seed).shuffle(found)
    before, rows, counted, start = object_bytes(), [], 0, time.monotonic()
    by_folder = {}
    for site in found:
        by_folder.setdefault("/".join(site[0].split("/")[:2]), []).append(site)
    queue = [s for _, s in sorted(((i, s) for sites_ in by_folder.values() for i, s in enumerate(sites_)), key=lambda p: p[0])]
    for name, number, what, old, new in queue:
        if counted == args.count:
            break
        path = TREE / name
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        lines[number - 1] = new + "\n"
        path.write_text("".join(lines))
        try:
            outcome, by = try_out(name, before, args.quick)
        finally:
            path.write_text(text)
        row = {"path": name, "line": number, "what": what, "old": old, "new": new, "outcome": outcome, "by": by}
        if outcome in ("noticed", "SURVIVED"):
            counted += 1
            rows.append(row)
            show(row)
    survivors = sum(r["outcome"] == "SURVIVED" for r in rows)
    print("%d mutations (seed %d): %d noticed, %d survived; %.0f s" % (counted, args.seed, counted - survivors, survivors,
                                                                      time.monotonic() - start))
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    report.run_main(main)
