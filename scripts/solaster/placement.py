"""On which CPUs a server's threads and the load generator run: what a comparison tries for each row, and how it is applied.

QEMU's threads that wander over all cores cost a Linux guest up to a factor of three, another guest nothing, and the other way
round; so no placement is fair to all. Each row is tried with all of them and measured with the one that is best for it.
"""
import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Placement:
    """CPUs of a guest's virtual CPUs, of the server's other threads (all threads of a process), and of the load generator."""
    name: str
    vcpus: frozenset
    others: frozenset
    client: frozenset

    def apply(self, pid):
        """To all threads of a running process; those it starts later inherit from the one that starts them."""
        for task in Path("/proc/%d/task" % pid).iterdir():
            try:
                is_vcpu = (task / "comm").read_text().startswith("CPU ")
                os.sched_setaffinity(int(task.name), self.vcpus if is_vcpu else self.others)
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile


def placements(is_guest, vcpus=1):
    """The ones to try here, at least one."""
    every = frozenset(os.sched_getaffinity(0))
    wander = Placement("any CPU", every, every, every)
    cpus = sorted(every)
    if len(cpus) < 2:
        return [wander]
    servers = frozenset(cpus[:max(1, min(vcpus, len(cpus) - 1))])
    client = every - servers
    apart = Placement("server on CPU %s, client on %s" % (shown(servers), shown(client)), servers, servers, client)
    if not is_guest:
        return [apart, wander]
    split = Placement("vCPU on CPU %s, QEMU's I/O and client on %s" % (shown(servers), shown(client)), servers, client, client)
    return [apart, split, wander]


def shown(cpus):
    return ",".join(map(str, sorted(cpus)))
