"""The harness tests itself: the accelerator's probe, QEMU's monitor, networks."""
import json
import socket
import threading

from solaster import accel, network, qemu
from solaster.qmp import Monitor, MonitorError
from solaster.testing import guest_test, host_test


@guest_test(cpus=(1, 2, 4), modes=("release", "debug"))
def test_the_probe_passes_where_guests_run(ctx):
    works, why, _ = accel.probe(qemu.choose_accel(mode=ctx.mode), ctx.mode, ctx.machine, ctx.cpus)
    assert works, why


@host_test(modes=("release",))
def test_the_monitor_tells_run_states_and_answers_commands(ctx):
    """Against a QEMU of three lines: what comes between an order and its answer is not mistaken for it."""
    listener, its = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(str(ctx.folder / "qmp"))
    listener.listen(1)
    states, seen = [], threading.Event()

    def on_status(name):
        states.append(name)
        seen.set()

    def say(**message):
        its.sendall(json.dumps(message).encode() + b"\r\n")

    def play():
        lines = its.makefile()
        say(QMP={})
        status = {"status": "running"}
        for line in lines:
            asked = json.loads(line)
            if asked["execute"] == "query-status":
                say(id=asked["id"], **{"return": status})
            elif asked["execute"] == "bad":
                say(id="bad", error={"desc": "no such command"})
            elif asked["execute"] == "good":
                status = {"status": "internal-error"}
                say(event="STOP")
                say(id="good", **{"return": 7})
            else:
                say(id=asked["id"], **{"return": {}})
    monitor = Monitor(listener, on_status)
    try:
        monitor.command("good")
        raise AssertionError("nobody has connected")
    except MonitorError:
        pass
    its.connect(str(ctx.folder / "qmp"))
    threading.Thread(target=play, daemon=True).start()
    assert seen.wait(10) and states == ["running"] and not monitor.is_stopped
    seen.clear()
    try:
        monitor.command("bad")
        raise AssertionError("a refused command is an error")
    except MonitorError as error:
        assert str(error) == "no such command"
    assert monitor.command("good") == 7
    assert seen.wait(10) and states[-1] == "internal-error" and monitor.is_stopped
    its.shutdown(socket.SHUT_RDWR)
    try:
        monitor.command("good")
        raise AssertionError("QEMU has gone")
    except MonitorError:
        pass


@host_test(modes=("release",))
def test_taps_live_in_a_network_of_their_own(ctx):
    ctx.own_network()
    ctx.tap("tap0", "10.9.0.1/24")
    ctx.tap("tap1", queues=2)
    network.check_tap("tap0")
    network.check_tap("tap1", 2)
    assert network.interface_address("tap0") == ("10.9.0.1", 24)
    with network.Namespace() as other:
        network.make_veth("veth0", "veth1", other)
        assert "veth1" in other.run("ip", "link", "show", "veth1", capture_output=True, text=True).stdout
