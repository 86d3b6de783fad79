#!/usr/bin/env python3
"""Write the kernel's table of function names as an assembler file: ksyms.py NM KERNEL_ELF OUT.S

The kernel is linked twice: the first ELF gives the addresses, the second carries this table in .ksyms, which the linker
script puts behind everything else, so that no address moves. Layout (kernel/debug/symbols.cc): a count, then for each
function a 32-bit offset from the kernel's base, then for each a 32-bit offset into the names, then the names.
"""
import re
import subprocess
import sys

BASE = 0xFFFFFFFF80000000


def main():
    nm, elf, out = sys.argv[1:4]
    text = subprocess.run([nm, "--demangle", "--defined-only", elf], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        match = re.match(r"([0-9a-f]{16}) [tTwW] (.*)", line)
        if not match or int(match[1], 16) < BASE:
            continue
        name = re.sub(r"\(anonymous namespace\)::", "", match[2])
        name = re.sub(r"^.*? (?=solaster::)", "", name) if name.count("<") == 0 else name
        name = re.sub(r"\(.*", "", name) if "operator()" not in name else name
        name = name.replace("solaster::", "")[:96]
        if name and not name.startswith(".L"):
            found.setdefault(int(match[1], 16), name)
    addresses = sorted(found)
    names, offsets, at = [], [], 0
    for address in addresses:
        names.append(found[address])
        offsets.append(at)
        at += len(found[address].encode()) + 1
    with open(out, "w") as f:
        f.write('.section .ksyms, "a", @progbits\n.balign 4\n.long %d\n' % len(addresses))
        for address in addresses:
            f.write(".long 0x%x\n" % (address - BASE))
        for offset in offsets:
            f.write(".long %d\n" % offset)
        for name in names:
            f.write('.asciz "%s"\n' % name.replace("\\", "\\\\").replace('"', '\\"'))


if __name__ == "__main__":
    main()
