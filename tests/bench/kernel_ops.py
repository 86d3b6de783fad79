#!/usr/bin/env python3
"""Guest instructions of the kernel's everyday work, beside what OSv needs for the same.

    tests/bench/kernel_ops.py [--only open_close] [--profile]

Each operation of tests/bench/kernel_ops.c runs in a guest with one CPU, some times and then ten times as often; what the
second guest executed more, a TCG plugin counts, is the operations' own. --profile shows which functions the instructions
lie in. Build first: ninja build/release/solaster-kernel.elf build/release/tests/bench/kernel_ops
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from solaster import build, plugin, qemu  # noqa: E402
from solaster.guest import Guest, kernel_path  # noqa: E402

# name: times in the shorter run, and OSv's instructions (None: not measured).
OPERATIONS = {
    "open_close": (2000, 2561),
    "pipe_round_trip": (2000, 4327),
    "mmap_among_13000": (500, None),
    "creat_among_6000": (500, None),
    "condition_switch": (4000, 1492),
    "yield_switch": (8000, None),
    "poll_64": (500, None),
    "null_call": (10000, None),
    "signal_oneself": (3000, None),
}


def run(out, name, times, profile):
    counter = plugin.Counter(profile=profile)
    try:
        vm = qemu.Machine(machine="microvm", cpus=1, memory="256M", accel="tcg", nets=[], rng=False,
                          extra=counter.arguments)
        program = (out / "tests/bench/kernel_ops").read_bytes()
        with Guest(vm, kernel_path(out), program, args=[name, str(times)], name="kernel_ops") as guest:
            status = guest.wait(120)
            if status != 0:
                raise SystemExit("%s ended with status %d:\n%s" % (name, status, guest.output))
            return counter.read(), counter.blocks() if profile else {}
    finally:
        counter.close()


def show_profile(out, before, after, operations):
    symbols = plugin.Symbols(kernel_path(out))
    functions = {}
    for (address, size), executed in after.items():
        name = (symbols.find(address) or hex(address & ~0xfff)) if address >> 63 else "the program"
        functions[name] = functions.get(name, 0) + size * (executed - before.get((address, size), 0))
    for name, n in sorted(functions.items(), key=lambda item: -item[1])[:30]:
        print("%12.1f  %s" % (n / operations, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=OPERATIONS)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    out = build.out("release")
    print("%-24s %12s %8s" % ("guest instructions", "here", "OSv"))
    for name in args.only or OPERATIONS:
        times, osv = OPERATIONS[name]
        few, blocks_before = run(out, name, times, args.profile)
        many, blocks_after = run(out, name, 10 * times, args.profile)
        print("%-24s %12.0f %8s" % (name, (many - few) / (9 * times), osv or "-"), flush=True)
        if args.profile:
            show_profile(out, blocks_before, blocks_after, 9 * times)


if __name__ == "__main__":
    main()
