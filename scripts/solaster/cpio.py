"""Writes newc cpio archives: what a kernel takes as its initrd. Reproducible: no times, no owners, numbered inodes."""
import os
import stat

ALIGN = 4


def _pad(n):
    return b"\0" * (-n % ALIGN)


def _entry(inode, name, mode, data=b"", rdev=(0, 0)):
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % f for f in fields)
    return header + encoded + _pad(len(header) + len(encoded)) + data + _pad(len(data))


class Archive:
    def __init__(self):
        self._parts = []
        self._names = set()

    def _add(self, name, mode, data=b"", rdev=(0, 0)):
        name = name.strip("/")
        if name in self._names:
            return
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.folder(parent)
        self._names.add(name)
        self._parts.append(_entry(len(self._names), name, mode, data, rdev))

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o644):
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor, mode=0o600):
        self._add(name, stat.S_IFCHR | mode, rdev=(major, minor))

    def bytes(self):
        data = b"".join(self._parts) + _entry(0, "TRAILER!!!", 0)
        return data + b"\0" * (-len(data) % 512)
