#!/usr/bin/env python3
"""How soon a program's first line comes after QEMU's start, against an empty PVH kernel in the same run.

    tests/bench/boot_time.py [--starts 20] [--machine microvm]

Starts both alternately and prints the medians in milliseconds and their ratio. Build first: ninja release-kernel release-abi.
"""
import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from solaster import build, qemu  # noqa: E402
from solaster.guest import Guest, kernel_path  # noqa: E402


def milliseconds_to_output(machine, kernel, wanted, program=None):
    vm = qemu.Machine(machine=machine, cpus=1, memory="128M", accel=qemu.choose_accel("auto"), nets=[], rng=False)
    with Guest(vm, kernel, program, name="print_line", options=["loglevel=0"]) as guest:
        guest.wait_for(wanted, 20)
        return 1000 * (guest.first_output - guest.started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--machine", choices=("microvm", "q35"), default="microvm")
    args = parser.parse_args()
    out = build.out("release")
    program = (out / "tests/abi/print_line").read_bytes()
    empty, ours = [], []
    with tempfile.NamedTemporaryFile(suffix=".elf") as probe:
        probe.write(qemu.probe_kernel(b"x"))
        probe.flush()
        for _ in range(args.starts):
            empty.append(milliseconds_to_output(args.machine, probe.name, "x"))
            ours.append(milliseconds_to_output(args.machine, kernel_path(out), "a line", program))
    a, b = statistics.median(empty), statistics.median(ours)
    print("%s: empty kernel %.1f ms, a program's line %.1f ms: %.2f times (medians of %d)" % (args.machine, a, b, b / a, args.starts))


if __name__ == "__main__":
    main()
