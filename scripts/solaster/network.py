"""Networks of our own. A process that calls enter_namespace() is alone on a new network, together with its children;
the kernel takes all of it down when the last of them ends, so nothing is left behind even by SIGKILL."""
import ctypes
import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess

from .report import UserError

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
TUNSETIFF, TUNSETPERSIST = 0x400454ca, 0x400454cb
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
NAME_MAX = 15
SYS_PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


def ip(*words, check=True):
    command = shutil.which("ip") or "/sbin/ip"
    result = subprocess.run([command, *map(str, words)], capture_output=True, text=True)
    if check and result.returncode != 0:
        raise UserError("ip %s: %s" % (" ".join(map(str, words)), result.stderr.strip()))
    return result.stdout


def enter_namespace():
    """Moves this process (one thread so far) into a network namespace of its own, with loopback up.

    Without root it tries a user namespace as well. Raises UserError where neither is allowed.
    """
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if _libc.unshare(flags) != 0:
        raise UserError("cannot make a network namespace: %s (run as root)" % os.strerror(ctypes.get_errno()))
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid)):
            with open("/proc/self/" + name, "w") as f:
                f.write(text)
    ip("link", "set", "lo", "up")


def can_enter_namespace():
    """Tries in a child, so that the caller stays where it is."""
    pid = os.fork()
    if pid == 0:
        try:
            enter_namespace()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def open_tun():
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        raise UserError("no rights to open /dev/net/tun; run as root") from None
    except OSError as error:
        raise UserError("cannot open /dev/net/tun: %s" % error.strerror) from None


def make_tap(name, address=None, queues=1, mtu=None):
    """A persistent tap of this namespace. address: "10.9.0.1/24" for the Linux side. queues > 1 makes it multi-queue."""
    fd = open_tun()
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    except OSError as error:
        raise UserError("cannot make the tap %s: %s" % (name, error.strerror)) from None
    finally:
        os.close(fd)
    if mtu:
        ip("link", "set", name, "mtu", mtu)
    # No IPv6 chatter: tests count packets.
    try:
        with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % name, "w") as f:
            f.write("1")
    except OSError:
        pass
    if address:
        ip("addr", "add", address, "dev", name)
    ip("link", "set", name, "up")
    return name


def tap_info(name):
    """What the kernel says of a tap ({"type": "tap", "multi_queue": ...}), {} for another interface, None if absent.

    Asked of ip, not read from /sys: that shows the namespace in which it was mounted.
    """
    text = ip("-d", "-j", "link", "show", "dev", name, check=False)
    if not text.strip():
        return None
    info = json.loads(text)[0].get("linkinfo", {})
    data = info.get("info_data", {})
    return data if info.get("info_kind") == "tun" and data.get("type") == "tap" else {}


def tap_queues(name):
    """1 for a single-queue tap, 0 for a multi-queue one (as many as are attached)."""
    return 0 if (tap_info(name) or {}).get("multi_queue") else 1


def check_tap(name, queues=1):
    """Raises UserError, in one line, unless the tap can be attached to."""
    if len(name) > NAME_MAX or not re.fullmatch(r"[^\s/,=]+", name):
        raise UserError("%r is not a tap's name" % name)
    info = tap_info(name)
    if info is None:
        raise UserError("there is no tap %s; make one: ip tuntap add %s mode tap user $USER && ip addr add 10.9.0.1/24 "
                        "dev %s && ip link set %s up" % (name, name, name, name))
    if not info:
        raise UserError("%s is a network interface but not a tap" % name)
    multi = bool(info.get("multi_queue"))
    if queues > 1 and not multi:
        raise UserError("tap %s has one queue; make it with multi_queue, or use one CPU" % name)
    fd = open_tun()
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if multi else 0)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        why = {16: "another program is using it", 1: "no rights (owned by another user; run as root, or make it with "
               "user $USER)"}.get(error.errno, error.strerror)
        raise UserError("cannot attach to tap %s: %s" % (name, why)) from None
    finally:
        os.close(fd)


def interface_address(name):
    """(address, prefix length) of an interface's first IPv4 address, or None."""
    match = re.search(r"inet (\S+?)/(\d+)", ip("-4", "-o", "addr", "show", "dev", name, check=False))
    return (match[1], int(match[2])) if match else None


def check_port(address, port, proto="tcp", guest_port="GUEST"):
    """Raises UserError, in one line, unless a server here could listen on the port. guest_port: for the advice."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as s:
        if proto == "tcp":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
            if proto == "tcp":
                s.listen(1)
        except PermissionError:
            raise UserError("no rights to listen on port %d; choose one above 1023 with --publish %d:%s" %
                            (port, port + 8000, guest_port)) from None
        except OSError as error:
            raise UserError("port %d on %s cannot be used: %s; choose another with --publish %d:%s" %
                            (port, address, error.strerror, port % 65535 + 1, guest_port)) from None


def widen_backlog(pid, address, port, backlog=4096):
    """Lets more connections wait at a TCP listener of process `pid` (or of a child of it).

    QEMU's user-mode network listens with a backlog of one and has no option for it: of many clients at once most would wait
    for their SYNs to be repeated. listen(2) on a listening socket changes its backlog, and pidfd_getfd(2) borrows the socket;
    both leave the rest of it alone. Raises OSError where that is not allowed, LookupError when there is no such listener.
    """
    for process in [pid, *_descendants(pid)]:
        handle = os.pidfd_open(process)
        try:
            for name in os.listdir("/proc/%d/fd" % process):
                if not os.readlink("/proc/%d/fd/%s" % (process, name)).startswith("socket:"):
                    continue
                fd = _libc.syscall(SYS_PIDFD_GETFD, handle, int(name), 0)
                if fd < 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                with socket.socket(fileno=fd) as s:
                    if s.family == socket.AF_INET and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and \
                            s.getsockname() == (address, port):
                        s.listen(backlog)
                        return
        except FileNotFoundError:
            pass  # it ended, or closed a descriptor, meanwhile
        finally:
            os.close(handle)
    raise LookupError("no listener on %s:%d" % (address, port))


def _descendants(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            children = [int(word) for word in f.read().split()]
    except OSError:
        return []
    return children + [g for child in children for g in _descendants(child)]


class Namespace:
    """A second host: a namespace that this process is not in. Commands run there by wrap(). Gone with the holder."""

    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep infinity"],
                                        stdout=subprocess.PIPE, preexec_fn=_die_with_parent)
        self._holder.stdout.readline()
        self.pid = self._holder.pid

    def wrap(self, *command):
        return ["nsenter", "--target", str(self.pid), "--net", *map(str, command)]

    def run(self, *command, **kwargs):
        return subprocess.run(self.wrap(*command), check=True, **kwargs)

    def close(self):
        self._holder.kill()
        self._holder.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _die_with_parent():
    _libc.prctl(1, 9, 0, 0, 0)


def make_veth(name, peer, namespace=None):
    ip("link", "add", name, "type", "veth", "peer", "name", peer, *(["netns", namespace.pid] if namespace else []))
    ip("link", "set", name, "up")
