"""QEMU's monitor (QMP, docs/interop/qmp-spec.txt of QEMU) over a socket: run states as they change, and commands."""
import json
import queue
import socket
import threading

COMMAND_SECONDS = 5
STATUS_ID = "status"


class MonitorError(Exception):
    """A command was refused, or QEMU does not answer."""


def lines_of(sock):
    """The lines that come, until the other side ends; each without its end of line."""
    buffered = b""
    while True:
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            return
        *lines, buffered = (buffered + data).split(b"\n")
        yield from lines


class Monitor:
    """listener: a listening socket to which QEMU connects; the monitor's from now on. on_status(name) is called from a thread
    of the monitor's own with each new run state: "running", "internal-error"..."""

    def __init__(self, listener, on_status):
        self._listener, self._socket, self._on_status = listener, None, on_status
        self._answers = queue.Queue()
        self._one_at_a_time = threading.Lock()
        self._sending = threading.Lock()
        self.status = None  # QEMU's name of the run state; None before it has answered
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_stopped(self):
        """Whether the virtual CPUs stand still: nothing in the guest will answer."""
        return self.status not in (None, "running")

    def command(self, name, **arguments):
        """Runs one command and returns its value."""
        with self._one_at_a_time:
            while not self._answers.empty():
                self._answers.get()  # of a command that was given up
            self._send({"execute": name, "arguments": arguments, "id": name})
            try:
                answer = self._answers.get(timeout=COMMAND_SECONDS)
            except queue.Empty:
                raise MonitorError("QEMU does not answer %s" % name) from None
        if answer is None:
            raise MonitorError("QEMU has ended")
        if "error" in answer:
            raise MonitorError(answer["error"].get("desc", "%s failed" % name))
        return answer.get("return")

    def human(self, line):
        """Runs a line of the human monitor; returns what it prints (nothing where it went well, for most)."""
        return self.command("human-monitor-command", **{"command-line": line}).strip()

    def close(self):
        for s in filter(None, (self._listener, self._socket)):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._reader.join(5)

    def _send(self, message):
        if self._socket is None:
            raise MonitorError("QEMU does not answer")
        with self._sending:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                raise MonitorError("QEMU has ended") from None

    def _read(self):
        with self._listener:
            try:
                self._socket, _ = self._listener.accept()
            except OSError:
                return
        with self._socket:
            for line in lines_of(self._socket):
                try:
                    self._take(json.loads(line))
                except (ValueError, MonitorError):
                    pass
            self._answers.put(None)

    def _take(self, message):
        if "QMP" in message:
            self._send({"execute": "qmp_capabilities", "id": "greeting"})
            self._send({"execute": "query-status", "id": STATUS_ID})
        elif message.get("event") in ("STOP", "RESUME"):
            self._send({"execute": "query-status", "id": STATUS_ID})  # the event does not say why
        elif message.get("id") == STATUS_ID and "return" in message:
            self.status = message["return"]["status"]
            self._on_status(self.status)
        elif message.get("id") not in (None, "greeting") and ("return" in message or "error" in message):
            self._answers.put(message)
