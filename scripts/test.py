#!/bin/sh
''':'
command -v python3 >/dev/null || "$(dirname "$0")/setup.sh" >&2 || exit 1
exec python3 "$0" "$@"
'''
__doc__ = """Build and run the tests.

    scripts/test.py                       everything, in release, debug and sanitize
    scripts/test.py -k tcp                cases whose name holds "tcp" (or matches it as a regular expression)
    scripts/test.py --mode debug --list   the names of the cases

release: unit, simulator, ABI and guest tests (microvm and q35; 1, 2 and 4 CPUs), interop. debug: unit and simulator with
all invariants walked, one guest. sanitize: every test that runs on the host, with the system allocator.
A case's name is mode/suite/case; the last line is the count. Exit status 0 only if nothing failed.
"""
import re
import sys

from solaster import build, report, suites
from solaster.report import UserError


FLAKY = []  # names of cases that failed first


def parse_arguments():
    p = report.Parser(prog="test.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("-k", metavar="PATTERN", help="only cases whose name matches")
    p.add_argument("--list", action="store_true", help="print the names of the cases, run nothing")
    p.add_argument("--mode", action="append", choices=build.MODES, help="repeatable; default: all three")
    p.add_argument("--no-build", action="store_true", help="use what is built")
    p.add_argument("-x", "--exit-first", action="store_true", help="stop behind the first suite with a failure")
    p.add_argument("--again", action="store_true", help="run cases that failed once more, alone, and name those that then pass")
    p.add_argument("--verbose", action="store_true")
    return p.parse_args()


def matcher(pattern):
    if pattern is None:
        return lambda name: True
    try:
        compiled = re.compile(pattern)
    except re.error:
        compiled = re.compile(re.escape(pattern))
    return lambda name: pattern in name or compiled.search(name)


def run_again(suite, results):
    """What failed beside others may pass alone: a defect of the test or of the code all the same, so it is printed and named."""
    failed = [r for r in results if r.outcome == suites.FAILED]
    if not failed or any(r.name not in suite.cases for r in failed):
        return results
    second, _ = suites.timed(suite, [r.name for r in failed])
    passed = {r.name for r in second if r.outcome == suites.PASSED}
    for result in failed:
        if result.name in passed:
            FLAKY.append(result.name)
            print("  FLAKY %s: failed, then passed alone\n    %s" % (
                result.name, result.output.rstrip().replace("\n", "\n    ")), flush=True)
    return [r for r in results if r.name not in passed] + [r for r in second if r.name in passed]


def run_suite(suite, wanted, counts, again=False):
    results, seconds = suites.timed(suite, wanted)
    if again:
        results = run_again(suite, results)
    here = {kind: [r for r in results if r.outcome == kind] for kind in (suites.PASSED, suites.FAILED, suites.SKIP)}
    words = ", ".join("%d %s" % (len(rs), kind) for kind, rs in here.items() if rs)
    print("%s: %s (%.1f s)" % (suite.name, words or "nothing", seconds), flush=True)
    for result in here[suites.SKIP]:
        print("  skipped %s: %s" % (result.name, result.output.strip().splitlines()[-1] if result.output.strip() else ""))
    for result in here[suites.FAILED]:
        print("  FAILED %s" % result.name)
        print("    " + result.output.rstrip().replace("\n", "\n    "), flush=True)
    for kind, found in here.items():
        counts[kind] += len(found)


def main():
    args = parse_arguments()
    report.VERBOSE = args.verbose
    modes = [m for m in build.MODES if m in (args.mode or build.MODES)]
    matches = matcher(args.k)
    build.ensure_packages()
    build.ensure_configured(modes)
    counts = {suites.PASSED: 0, suites.FAILED: 0, suites.SKIP: 0}
    for mode in modes:
        if not args.no_build:
            build.build(suites.targets_of(mode), keep_going=True)
        for suite in suites.find_suites(mode):
            wanted = [c for c in suite.cases if matches(c)]
            if args.list:
                print("\n".join(wanted) + "\n" * bool(wanted), end="")
            elif wanted and not (args.exit_first and counts[suites.FAILED]):
                run_suite(suite, wanted, counts, args.again)
    if args.list:
        return 0
    if not any(counts.values()):
        raise UserError("no test matches %s" % args.k)
    skipped = ", %d skipped" % counts[suites.SKIP] if counts[suites.SKIP] else ""
    for name in FLAKY:
        print("flaky: %s" % name)
    print("%d passed, %d failed%s" % (counts[suites.PASSED], counts[suites.FAILED], skipped))
    return 1 if counts[suites.FAILED] else 0


if __name__ == "__main__":
    report.run_main(main)
