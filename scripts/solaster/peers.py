"""What the comparison compares with: Debian's memcached and cloud kernel, downloaded and unpacked under build/peers.

Nothing is installed: installing memcached would start a server on the port, and a kernel package would change the host.
"""
import re
import shutil
import struct
import subprocess
from pathlib import Path

from . import cpio
from .build import BUILD
from .report import UserError, say

PEERS = BUILD / "peers"
TREE = PEERS / "root"
PACKAGES = ("memcached", "busybox-static", "libevent-2.1-7", "libsasl2-2", "libssl3")
MODULES = ("virtio_pci", "virtio_net")
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "lib", "usr/lib")


def _run(command, **kwargs):
    result = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if result.returncode != 0:
        raise UserError("%s failed: %s" % (" ".join(map(str, command[:3])), (result.stderr or result.stdout).strip()[-300:]))
    return result.stdout


def kernel_package():
    out = _run(["apt-cache", "depends", "linux-image-cloud-amd64"])
    match = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", out)
    if not match:
        raise UserError("apt knows no linux-image-cloud-amd64; run apt-get update")
    return match[1]


def prepare():
    """Downloads and unpacks what is missing; says so."""
    stamp = PEERS / "unpacked"
    wanted = " ".join(PACKAGES)
    if stamp.exists() and stamp.read_text().startswith(wanted + " linux-image-"):
        return
    PEERS.mkdir(parents=True, exist_ok=True)
    packages = [*PACKAGES, kernel_package()]
    say("downloading %s (unpacked under build/peers, not installed)" % " ".join(packages))
    for old in PEERS.glob("*.deb"):
        old.unlink()
    _run(["apt-get", "-q", "download", *packages], cwd=PEERS)
    shutil.rmtree(TREE, ignore_errors=True)
    for deb in sorted(PEERS.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(deb), str(TREE)])
    stamp.write_text(" ".join(packages))


def memcached_path():
    return TREE / "usr/bin/memcached"


def memcached_environment():
    """For running the unpacked memcached as a process here."""
    return {"LD_LIBRARY_PATH": ":".join(str(TREE / f) for f in LIBRARY_FOLDERS if (TREE / f).is_dir())}


def versions():
    """{package: version}, for the record."""
    out = {}
    for deb in sorted(PEERS.glob("*.deb")):
        name, version, _ = deb.name[:-4].split("_", 2)
        out[name] = version.replace("%3a", ":")
    return out


def linux_kernel():
    found = sorted((TREE / "boot").glob("vmlinuz-*"))
    if not found:
        raise UserError("no kernel in %s; remove build/peers and try again" % TREE)
    return found[-1]


# ---------------------------------------------------------------- ELF, as far as needed here

def _sections(data):
    shoff, = struct.unpack_from("<Q", data, 40)
    entsize, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * entsize) for i in range(count)]
    table = headers[names]
    for h in headers:
        at = table[4] + h[0]
        yield data[at:data.index(b"\0", at)].decode(), h


def module_depends(path):
    """The `depends=` line of a module's .modinfo: depmod has not run on an unpacked package."""
    data = path.read_bytes()
    for name, header in _sections(data):
        if name == ".modinfo":
            for line in data[header[4]:header[4] + header[5]].split(b"\0"):
                if line.startswith(b"depends="):
                    return [w for w in line[8:].decode().split(",") if w]
    return []


def modules_in_order(wanted):
    """Files of the modules and what they depend on, dependencies first; those built in are left out."""
    folder = next((TREE / "lib/modules").iterdir())
    files = {p.name[:-3].replace("-", "_"): p for p in folder.rglob("*.ko")}
    builtin = (folder / "modules.builtin").read_text().replace("-", "_")
    order = []

    def visit(name):
        name = name.replace("-", "_")
        if name not in files:
            if "/%s.ko" % name not in builtin:
                raise UserError("the cloud kernel has no module %s" % name)
            return
        for needed in module_depends(files[name]):
            visit(needed)
        if files[name] not in order:
            order.append(files[name])

    for name in wanted:
        visit(name)
    return order


def needed_libraries(path, found=None):
    """{path in the guest: file here} of a dynamic program's interpreter and libraries: the unpacked ones, else ours."""
    found = {} if found is None else found
    out = subprocess.run(["llvm-readelf-19", "-d", "-l", str(path)], capture_output=True, text=True).stdout
    names = re.findall(r"\(NEEDED\).*\[(.*)\]", out) + re.findall(r"interpreter: (\S+)\]", out)
    for name in names:
        guest = name if name.startswith("/") else "/lib/x86_64-linux-gnu/" + name
        if guest in found:
            continue
        base = Path(name).name
        here = next((p for root in (TREE, Path("/")) for p in (root / f / base for f in LIBRARY_FOLDERS) if p.exists()), None)
        if not here:
            raise UserError("library %s not found" % name)
        found[guest] = here
        needed_libraries(here, found)
    return found


# ---------------------------------------------------------------- the Linux guest's initrd

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
for m in %(modules)s; do /bin/busybox insmod /modules/$m; done
/bin/busybox ip link set lo up
/bin/busybox ip addr add %(address)s dev eth0
/bin/busybox ip link set eth0 up
ulimit -n 20000
cd /
echo guest: clock source $(/bin/busybox cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
echo guest: starting
exec %(command)s
"""


def initrd(program, name, command, address):
    """A minimal root: busybox, the virtio modules, one program (dynamic or static) and /init, which becomes it."""
    archive = cpio.Archive()
    for folder in ("proc", "sys", "dev", "tmp", "run", "etc", "bin"):
        archive.folder(folder)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, 0o666)
    archive.file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.file("bin/busybox", (TREE / "bin/busybox").read_bytes(), 0o755)
    modules = modules_in_order(MODULES)
    for module in modules:
        archive.file("modules/" + module.name, module.read_bytes())
    archive.file("bin/" + name, Path(program).read_bytes(), 0o755)
    for guest, here in needed_libraries(program).items():
        archive.file(guest, here.read_bytes(), 0o755)
    text = INIT % {"modules": " ".join(m.name for m in modules), "address": address, "command": command}
    archive.file("init", text.encode(), 0o755)
    return archive.bytes()
