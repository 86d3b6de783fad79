"""--pcap FILE: what the native stack saw is in the file, as frames that can be read."""
import os
import struct
import tempfile

import net_peer
from solaster.testing import host_test


def records(path):
    with open(path, "rb") as f:
        data = f.read()
    magic, major, minor, _, _, _, link = struct.unpack("<IHHiIII", data[:24])
    assert (magic, major, minor, link) == (0xa1b23c4d, 2, 4, 1), data[:24]
    at, out = 24, []
    while at < len(data):
        seconds, nanoseconds, kept, length = struct.unpack("<IIII", data[at:at + 16])
        assert kept == length and nanoseconds < 10**9, (kept, length, nanoseconds)
        out.append((seconds * 10**9 + nanoseconds, data[at + 16:at + 16 + kept]))
        at += 16 + kept
    return out


@host_test(modes=("release", "sanitize"), timeout=60)
def test_capture_has_every_frame(ctx):
    path = os.path.join(tempfile.mkdtemp(prefix="solaster-"), "capture.pcap")
    with net_peer.on_tap(ctx, args=["--pcap", path]) as server:
        net_peer.check_ping(server)
        net_peer.check_echo(server, 2, 5)
        counts = server.stop()
    frames = records(path)
    times = [t for t, _ in frames]
    assert times == sorted(times)
    got = counts["queue"][0]["packets"]
    assert len(frames) == sum(got), (len(frames), got)
    # ICMP echo: four requests and their replies.
    kinds = [f[34] for _, f in frames if f[12:14] == b"\x08\x00" and f[23] == 1]
    assert kinds.count(8) == 4 and kinds.count(0) == 4, kinds
    os.unlink(path)
    os.rmdir(os.path.dirname(path))
