"""The harness tests itself: a guest of 100 bytes boots and its status arrives, on both machines."""
import tempfile

from solaster import network, qemu
from solaster.guest import Guest
from solaster.testing import guest_test, host_test


@guest_test(cpus=(1, 2, 4), modes=("release", "debug"))
def test_status_of_the_smallest_guest_arrives(ctx):
    with tempfile.NamedTemporaryFile(suffix=".elf") as kernel:
        kernel.write(qemu.probe_kernel())
        kernel.flush()
        vm = qemu.Machine(machine=ctx.machine, cpus=ctx.cpus, memory="32M", accel=qemu.choose_accel())
        with Guest(vm, kernel.name) as guest:
            assert guest.wait(20) == qemu.PROBE_STATUS


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
