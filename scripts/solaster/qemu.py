"""QEMU's command line for a Solaster guest, and what its exit status means."""
import dataclasses
import shutil

from .report import UserError

BINARY = "qemu-system-x86_64"
DEBUG_EXIT_PORT = 0xf4
HOST_CHANNEL_PORT = 0xe9  # kernel/drivers/host_channel.cc
MACHINES = ("microvm", "q35")

# What the kernel writes to the debug port, see the table in scripts/README.md.
STATUS_PANIC = 126
STATUS_SIGNAL = 127


@dataclasses.dataclass
class Net:
    """One virtio-net device. kind: "user" or "tap".

    publish, publish_others: of a "user" network, see guest.Guest: (host address, host port, guest port, "tcp"|"udp") each, and
    whether other ports on which the guest listens are published under their own number.
    """
    kind: str = "user"
    tap: str = ""
    publish: list = dataclasses.field(default_factory=list)
    publish_others: bool = False
    queues: int = 1
    rss: bool = False
    mac: str = "52:54:00:12:34:56"
    pcap: str = ""
    device_options: str = ""


@dataclasses.dataclass
class Machine:
    machine: str = "microvm"
    accel: str = "tcg"
    cpu: str = ""  # QEMU's model; empty: the best that the accelerator has
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
        argv += ["-accel", self.accel, "-cpu", self.cpu or ("host" if self.accel == "kvm" else "max")]
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


def binary_path():
    path = shutil.which(BINARY)
    if not path:
        raise UserError("%s not found; run scripts/setup.sh" % BINARY)
    return path


def choose_accel(wanted="auto", mode="release"):
    """"kvm" if it works here (see accel.py) and is not unwanted, else "tcg". mode: whose kernel tries it."""
    from . import accel  # it boots a guest, and what boots a guest needs this file
    return accel.choose(wanted, mode)
