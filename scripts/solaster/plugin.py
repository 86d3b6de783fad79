"""The TCG plugin that counts guest instructions: builds it, and reads its shared figures while the guest runs."""
import bisect
import mmap
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from .build import BUILD, ROOT
from .report import UserError

SOURCE = ROOT / "scripts/plugin/count.c"
BLOCKS_MAX = 1 << 18
HEADER = struct.Struct("<QQQ")
BLOCK = struct.Struct("<QQQ")
MAGIC = 0x536f6c61


def build_plugin():
    path = BUILD / "libcount.so"
    if path.exists() and path.stat().st_mtime > SOURCE.stat().st_mtime:
        return path
    compiler = shutil.which("clang-19") or shutil.which("clang")
    if not compiler:
        raise UserError("clang-19 not found; run scripts/setup.sh")
    BUILD.mkdir(exist_ok=True)
    result = subprocess.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", "-o", str(path),
                             str(SOURCE)], capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError("the counting plugin does not build: %s" % result.stderr.strip())
    return path


class Counter:
    """One guest's figures. arguments go to QEMU; read() gives the instructions so far."""

    def __init__(self, profile=False):
        self._file = tempfile.NamedTemporaryFile(prefix="solaster-count-")
        self._map = None
        self.arguments = ["-plugin", "%s,shm=%s%s" % (build_plugin(), self._file.name, ",profile=on" * profile)]

    def _mapping(self):
        if self._map is None:
            with open(self._file.name, "rb") as f:
                self._map = mmap.mmap(f.fileno(), HEADER.size + BLOCK.size * BLOCKS_MAX, prot=mmap.PROT_READ)
        return self._map

    def read(self):
        magic, instructions, _ = HEADER.unpack_from(self._mapping(), 0)
        if magic != MAGIC:
            raise UserError("the counting plugin has not started")
        return instructions

    def blocks(self):
        """{(address, instructions): times executed}"""
        _, _, count = HEADER.unpack_from(self._mapping(), 0)
        data = self._mapping()[HEADER.size:HEADER.size + BLOCK.size * count]
        return {(vaddr, n): executed for vaddr, n, executed in BLOCK.iter_unpack(data)}

    def close(self):
        if self._map is not None:
            self._map.close()
        self._file.close()


class Symbols:
    """Function names of an ELF file, at a load offset."""

    def __init__(self, path, offset=0):
        nm = shutil.which("llvm-nm-19") or shutil.which("nm")
        out = subprocess.run([nm, "-C", "--defined-only", "-n", str(path)], capture_output=True, text=True).stdout
        self._addresses, self._names = [], []
        for line in out.splitlines():
            match = re.match(r"([0-9a-f]{16}) [tTwWiI] (.*)", line)
            if match:
                self._addresses.append(int(match[1], 16) + offset)
                self._names.append(match[2])
        self.name = Path(path).name

    def find(self, address):
        i = bisect.bisect_right(self._addresses, address) - 1
        if i < 0 or address - self._addresses[i] > 1 << 16:
            return None
        return self._names[i]
