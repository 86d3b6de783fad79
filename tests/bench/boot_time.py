#!/usr/bin/env python3
"""How soon a program's first line comes after QEMU's start, against an empty PVH kernel in the same run.

    tests/bench/boot_time.py [--starts 20] [--machine microvm]

Starts both alternately and prints the medians in milliseconds and their ratio. Build first: ninja release-kernel release-abi.
"""
import argparse
import statistics
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from solaster import build, qemu  # noqa: E402
from solaster.guest import Guest, kernel_path  # noqa: E402

EMPTY_STATUS = 42


def empty_kernel(output=b""):
    """The smallest PVH guest: it turns paging on, enters 64-bit code, prints, writes a status."""
    base = 0x100000
    code = assemble(base + 0x1000, output)
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", base + 0x1000)
    ehdr = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, base + 0x1000, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, base + 0x1000, base + 0x1000, len(code), 0x5000, 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 64 + 112, base + 64 + 112, base + 64 + 112, len(note), len(note), 4)
    head = ehdr + load + notes + note
    return head + bytes(0x1000 - len(head)) + code


def assemble(origin, output):
    """Page tables at origin + 0x1000 (identity, one 2 MiB page), long mode, the output to COM1, then `out 0xf4`."""
    pml4, pdpt, pd = origin + 0x1000, origin + 0x2000, origin + 0x3000
    gdt, gdtr, target = origin + 0x100, origin + 0x118, origin + 0x80

    def store(address, value):  # mov dword [address], value
        return b"\xc7\x05" + struct.pack("<II", address, value)

    code = store(pml4, pdpt | 3) + store(pdpt, pd | 3) + store(pd, 0x83)
    code += b"\x0f\x01\x15" + struct.pack("<I", gdtr)                       # lgdt [gdtr]
    code += b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0"                         # cr4 |= PAE
    code += b"\xb8" + struct.pack("<I", pml4) + b"\x0f\x22\xd8"             # cr3 = pml4
    code += b"\xb9\x80\x00\x00\xc0\x0f\x32\x0d\x00\x01\x00\x00\x0f\x30"     # EFER |= LME
    code += b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0"                 # cr0 |= PG
    code += b"\xea" + struct.pack("<IH", target, 8)                         # ljmp 8:target
    assert len(code) <= 0x80
    code = code.ljust(0x80, b"\xf4")
    code += b"\x66\xba\xf8\x03" + b"".join(b"\xb0" + bytes([c]) + b"\xee" for c in output)  # dx = 0x3f8; out dx, al
    code += b"\xb0" + bytes([EMPTY_STATUS]) + b"\xe6\xf4\xf4\xeb\xfd"       # al = status; out 0xf4, al; hlt
    code = code.ljust(0x100, b"\xf4")
    code += struct.pack("<QQQ", 0, 0x00af9b000000ffff, 0x00cf93000000ffff)  # null, 64-bit code, data
    return code + struct.pack("<HI", 23, gdt)


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
        probe.write(empty_kernel(b"x"))
        probe.flush()
        for _ in range(args.starts):
            empty.append(milliseconds_to_output(args.machine, probe.name, "x"))
            ours.append(milliseconds_to_output(args.machine, kernel_path(out), "a line", program))
    a, b = statistics.median(empty), statistics.median(ours)
    print("%s: empty kernel %.1f ms, a program's line %.1f ms: %.2f times (medians of %d)" % (args.machine, a, b, b / a, args.starts))


if __name__ == "__main__":
    main()
