"""QEMU's command line for a Solaster guest, which accelerator works here, and what its exit status means."""
import dataclasses
import json
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from .build import BUILD
from .report import UserError, detail, say

BINARY = "qemu-system-x86_64"
DEBUG_EXIT_PORT = 0xf4
PROBE_STATUS = 42
PROBE_SECONDS = 5
MACHINES = ("microvm", "q35")

# What the kernel writes to the debug port, see the table in scripts/README.md.
STATUS_PANIC = 126
STATUS_SIGNAL = 127


@dataclasses.dataclass
class Net:
    """One virtio-net device. kind: "user" (publish: (host address, host port, guest port, "tcp"|"udp")) or "tap"."""
    kind: str = "user"
    tap: str = ""
    publish: list = dataclasses.field(default_factory=list)
    queues: int = 1
    rss: bool = False
    mac: str = "52:54:00:12:34:56"
    pcap: str = ""
    device_options: str = ""


@dataclasses.dataclass
class Machine:
    machine: str = "microvm"
    accel: str = "tcg"
    cpus: int = 1
    memory: str = "256M"
    nets: list = dataclasses.field(default_factory=list)
    rng: bool = False
    gdb_port: int = 0
    extra: list = dataclasses.field(default_factory=list)

    def command(self, kernel, initrd=None, append=None, serial="none"):
        """The whole argv. serial: a -serial argument, such as "chardev:con" with the chardev in extra."""
        argv = [BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        argv += ["-machine", "microvm" if self.machine == "microvm" else "q35,sata=off,smbus=off"]
        argv += ["-accel", "kvm", "-cpu", "host"] if self.accel == "kvm" else ["-accel", "tcg", "-cpu", "max"]
        argv += ["-smp", str(self.cpus), "-m", self.memory]
        argv += ["-device", "isa-debug-exit,iobase=%#x,iosize=1" % DEBUG_EXIT_PORT]
        if self.machine == "microvm":
            argv += ["-global", "virtio-mmio.force-legacy=false"]
        for i, net in enumerate(self.nets):
            argv += self._net(i, net)
        if self.rng:
            argv += ["-device", "virtio-rng-" + ("device" if self.machine == "microvm" else "pci,disable-legacy=on")]
        if self.gdb_port:
            argv += ["-S", "-gdb", "tcp:127.0.0.1:%d" % self.gdb_port]
        argv += [*self.extra, "-serial", serial, "-kernel", str(kernel)]
        if initrd:
            argv += ["-initrd", str(initrd)]
        if append is not None:
            argv += ["-append", append]
        return argv

    def _net(self, i, net):
        if net.kind == "user":
            backend = "user,id=net%d,ipv6=off" % i
            for address, host, guest, proto in net.publish:
                backend += ",hostfwd=%s:%s:%d-:%d" % (proto, address, host, guest)
        else:
            backend = "tap,id=net%d,ifname=%s,script=no,downscript=no,vhost=off" % (i, net.tap)
            if net.queues > 1:
                backend += ",queues=%d" % net.queues
        device = "virtio-net-device" if self.machine == "microvm" else "virtio-net-pci,disable-legacy=on,romfile="
        device += ",netdev=net%d,mac=%s" % (i, net.mac)
        if net.queues > 1:
            device += ",mq=on" + (",rss=on" if net.rss else "")
            if self.machine != "microvm":
                device += ",vectors=%d" % (2 * net.queues + 2)
        if net.device_options:
            device += "," + net.device_options
        argv = ["-netdev", backend, "-device", device]
        if net.pcap:
            argv += ["-object", "filter-dump,id=dump%d,netdev=net%d,file=%s" % (i, i, net.pcap)]
        return argv


# ---------------------------------------------------------------- which accelerator

def probe_kernel(output=b""):
    """The smallest PVH guest that proves something: it turns paging on, enters 64-bit code, prints, writes its status."""
    base = 0x100000
    code = assemble_probe(base + 0x1000, output)
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", base + 0x1000)
    ehdr = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, base + 0x1000, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, base + 0x1000, base + 0x1000, len(code), 0x5000, 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 64 + 112, base + 64 + 112, base + 64 + 112, len(note), len(note), 4)
    head = ehdr + load + notes + note
    return head + bytes(0x1000 - len(head)) + code


def assemble_probe(origin, output):
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
    code += b"\xb0" + bytes([PROBE_STATUS]) + b"\xe6\xf4\xf4\xeb\xfd"       # al = status; out 0xf4, al; hlt
    code = code.ljust(0x100, b"\xf4")
    code += struct.pack("<QQQ", 0, 0x00af9b000000ffff, 0x00cf93000000ffff)  # null, 64-bit code, data
    return code + struct.pack("<HI", 23, gdt)


def binary_path():
    path = shutil.which(BINARY)
    if not path:
        raise UserError("%s not found; run scripts/setup.sh" % BINARY)
    return path


def probe(accel, machine="microvm"):
    """Whether a guest runs under this accelerator: the file /dev/kvm proves nothing. Returns (works, why not)."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as kernel:
        kernel.write(probe_kernel())
        kernel.flush()
        argv = Machine(machine=machine, accel=accel, memory="16M").command(kernel.name)
        try:
            result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            return False, "a test guest did not finish in %d s" % PROBE_SECONDS
    if result.returncode == PROBE_STATUS * 2 + 1:
        return True, ""
    lines = result.stderr.strip().splitlines()
    return False, lines[-1] if lines else "the test guest ended with status %d" % result.returncode


def choose_accel(wanted="auto"):
    """The accelerator to use; the answer for kvm is kept under build/ until QEMU, the host's boot or the rights change."""
    if wanted == "tcg":
        return "tcg"
    if not os.path.exists("/dev/kvm"):
        works, why = False, "there is no /dev/kvm"
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        works, why = False, "no right to open /dev/kvm"
    else:
        works, why = _probe_cached()
    if wanted == "kvm" and not works:
        raise UserError("KVM does not work here (%s); use --accel tcg" % why)
    detail("accelerator: %s" % ("kvm" if works else "tcg (%s)" % why))
    return "kvm" if works else "tcg"


def _probe_cached():
    path = BUILD / "accel.json"
    binary = os.stat(binary_path())
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    key = [binary.st_mtime, binary.st_size, boot, os.getuid(), os.stat("/dev/kvm").st_mtime]
    try:
        saved = json.loads(path.read_text())
        if saved["key"] == key:
            return saved["works"], saved["why"]
    except (OSError, ValueError, KeyError):
        pass
    say("trying whether KVM runs a guest here")
    works, why = probe("kvm")
    say("KVM works" if works else "KVM does not work (%s); emulating instead" % why)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"key": key, "works": works, "why": why}))
    except OSError:
        pass
    return works, why
