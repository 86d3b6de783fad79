"""Enough of ELF to say early and clearly why a file cannot be started in the guest."""
import struct
from pathlib import Path

from .report import UserError

MACHINES = {3: "i386", 40: "arm", 183: "aarch64", 243: "riscv"}
PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
ET_EXEC, ET_DYN = 2, 3


def program_headers(data):
    phoff, = struct.unpack_from("<Q", data, 32)
    phentsize, phnum = struct.unpack_from("<HH", data, 54)
    for i in range(phnum):
        yield struct.unpack_from("<IIQQQQQQ", data, phoff + i * phentsize)


def is_position_independent(data):
    return struct.unpack_from("<H", data, 16)[0] == ET_DYN


def check_static_program(path):
    """Raises UserError unless path is a static x86-64 Linux program; returns its bytes."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such program: %s" % path) from None
    except IsADirectoryError:
        raise UserError("%s is a folder, not a program" % path) from None
    except OSError as error:
        raise UserError("cannot read %s: %s" % (path, error.strerror)) from None
    if data[:4] != b"\x7fELF":
        raise UserError("%s is not an ELF file" % path)
    try:
        kind, machine = struct.unpack_from("<HH", data, 16)
        if data[4] != 2 or machine != 62:
            raise UserError("%s is an ELF file for %s, not for x86-64" % (path, MACHINES.get(machine, "another machine")))
        if kind not in (ET_EXEC, ET_DYN):
            raise UserError("%s is an ELF file but not a program (an object file or a core dump?)" % path)
        headers = list(program_headers(data))
    except struct.error:
        raise UserError("%s is a damaged ELF file: it ends inside its headers" % path) from None
    if any(h[0] == PT_INTERP for h in headers):
        raise UserError("%s is dynamically linked; the guest runs static programs (link it with -static-pie)" % path)
    if not any(h[0] == PT_LOAD for h in headers):
        raise UserError("%s has nothing to load" % path)
    if any(h[0] == PT_LOAD and h[2] + h[5] > len(data) for h in headers):
        raise UserError("%s is cut short: a segment lies beyond the end of the file" % path)
    return data
