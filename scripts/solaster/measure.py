"""Figures about processes and answers: CPU seconds by thread, peak memory, time to the first answer, medians."""
import errno
import os
import re
import select
import socket
import statistics
import time
from pathlib import Path

from .report import UserError

TICKS = os.sysconf("SC_CLK_TCK")
TRACE_EVENTS = ("virtio_queue_notify", "apic_deliver_irq", "apic_local_deliver")


def thread_seconds(pid):
    """{thread name: CPU seconds} of a process; threads of one name (digits aside) are added up."""
    out = {}
    for task in Path("/proc/%d/task" % pid).iterdir():
        try:
            text = (task / "stat").read_text()
        except OSError:
            continue
        name = text[text.index("(") + 1:text.rindex(")")]
        fields = text[text.rindex(")") + 2:].split()
        key = re.sub(r"(iou-\w+)-\d+", r"\1", name)
        out[key] = out.get(key, 0) + (int(fields[11]) + int(fields[12])) / TICKS
    return out


def process_seconds(pid):
    """CPU seconds of a process with its ended threads (kernel workers of io_uring are threads of it)."""
    text = Path("/proc/%d/stat" % pid).read_text()
    fields = text[text.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_memory(pid):
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/%d/status" % pid).read_text())
    return int(match[1]) * 1024 if match else None


def difference(after, before):
    return {name: round(after[name] - before.get(name, 0), 3) for name in after}


def wait_first_answer(address, port, started, alive, seconds=60):
    """Milliseconds from `started` (monotonic) to the server's first answer to `version`.

    A SYN that comes before the guest listens is lost, and TCP repeats it only a second later: so a new attempt is made
    every few milliseconds and the first to be answered counts.
    """
    pending = {}
    poller = select.poll()
    deadline = started + seconds
    try:
        while time.monotonic() < deadline:
            if not alive():
                raise UserError("the server ended before it answered")
            if len(pending) < 500:
                s = socket.socket()
                s.setblocking(False)
                code = s.connect_ex((address, port))
                if code in (0, errno.EINPROGRESS):
                    pending[s.fileno()] = s
                    poller.register(s, select.POLLOUT)
                else:
                    s.close()
            for fd, _ in poller.poll(4):
                s = pending[fd]
                poller.unregister(fd)
                if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and answers(s):
                    return 1000 * (time.monotonic() - started)
                s.close()
                del pending[fd]
        raise UserError("no answer within %d s" % seconds)
    finally:
        for s in pending.values():
            s.close()


def answers(s):
    try:
        s.settimeout(20)
        s.sendall(b"version\r\n")
        return s.recv(200).startswith(b"VERSION")
    except OSError:
        return False


class Trace:
    """Counts QEMU's trace events while a guest runs: arguments for QEMU, and the counts so far."""

    def __init__(self, path):
        self._path = Path(path)
        self.arguments = ["-D", str(path)]
        for event in TRACE_EVENTS:
            self.arguments += ["-trace", "enable=" + event]
        self._offset, self._counts = 0, dict.fromkeys(TRACE_EVENTS, 0)

    def restart(self):
        """QEMU has been started anew and has emptied the file."""
        self._offset = 0

    def read(self):
        """(kicks, interrupts) so far: notifications of a virtqueue, and vectors delivered to a CPU."""
        time.sleep(0.2)
        with open(self._path, "rb") as f:
            f.seek(self._offset)
            for line in f:
                name = line.split(b" ", 1)[0].decode()
                if name in self._counts:
                    self._counts[name] += 1
            self._offset = f.tell()
        return self._counts["virtio_queue_notify"], self._counts["apic_deliver_irq"] + self._counts["apic_local_deliver"]


def summary(samples, digits=1):
    """(median, [least, most]) of the samples that are there; (None, None) without any."""
    values = [v for v in samples if v is not None]
    if not values:
        return None, None
    return round(statistics.median(values), digits), [round(min(values), digits), round(max(values), digits)]
