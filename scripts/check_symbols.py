#!/usr/bin/env python3
"""Check that net/, linked with the kernel's flags, needs nothing but the functions it is allowed to need.

    check_symbols.py --nm llvm-nm --stamp OK net-kernel.o [allowed-symbols.txt]

The list has one symbol a line; # starts a comment.
"""
import argparse
import subprocess
import sys
from pathlib import Path

# What the compiler itself may call, whatever the source says.
COMPILER = {"memcpy", "memmove", "memset", "memcmp"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", required=True)
    parser.add_argument("--stamp", required=True)
    parser.add_argument("object")
    parser.add_argument("allowed", nargs="?")
    args = parser.parse_args()
    allowed = set(COMPILER)
    if args.allowed:
        lines = Path(args.allowed).read_text().splitlines()
        allowed |= {word for word in (line.split("#")[0].strip() for line in lines) if word}
    out = subprocess.run([args.nm, "--undefined-only", "--format=just-symbols", args.object], check=True,
                         capture_output=True, text=True).stdout
    extra = sorted(set(out.split()) - allowed)
    if extra:
        readable = subprocess.run([args.nm, "-C", "--undefined-only", "--format=just-symbols", args.object],
                                  capture_output=True, text=True).stdout.splitlines()
        names = "\n  ".join(extra)
        sys.exit("net/ needs symbols that %s does not allow:\n  %s\n(demangled, all: %s)" %
                 (args.allowed or "the built-in list", names, "; ".join(readable)))
    Path(args.stamp).write_text("")


if __name__ == "__main__":
    main()
