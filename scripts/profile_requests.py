#!/usr/bin/env python3
"""Where the instructions of one memcached request go in the unikernel: a table by function and by layer.

    scripts/profile_requests.py --depth 1
    scripts/profile_requests.py --depth 16 --top 60

Counts executed guest instructions by block (a TCG plugin) over a window of requests, as compare.py does, and gives each
block to the function it lies in, of the kernel or of the program (whose load address is found from the blocks themselves).
"""
import re
import subprocess

from solaster import build, loadgen, peers, plugin, qemu, report, servers
from solaster.report import UserError

# Layer: what its functions' names match. The first that fits counts.
LAYERS = [
    ("net/tcp", r"net::tcp"),
    ("net/virtio", r"net::virtio"),
    ("net, rest", r"solaster::net::"),
    ("kernel", r"solaster::kernel::|^kernel:"),
    ("memcached", r"memcached"),
    ("allocator", r"memory::|^(malloc|free|calloc|realloc|operator (new|delete))"),
    ("native stack", r"native"),
    ("streams and sockets", r"stream|socket|temporary_buffer|packet|deleter"),
    ("coroutines and futures", r"future|promise|coroutine|continuation|task"),
    ("reactor", r"reactor|poll|timer|smp|shard"),
    ("memory functions", r"mem(cpy|move|set|cmp|chr)|str(len|cmp|chr)"),
    ("framework, rest", r"solaster::"),
]


def parse_arguments():
    p = report.Parser(prog="profile_requests.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("--depth", type=int, default=1)
    p.add_argument("--row", default="c", choices="bc", help="c: the unikernel (default); b: in a Linux guest, program only")
    p.add_argument("--window", type=int, default=10000, help="requests (default 10000)")
    p.add_argument("--top", type=int, default=40, help="functions to show (default 40)")
    p.add_argument("--blocks", metavar="FUNCTION", help="also list the blocks of functions whose name holds this")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    args.connections, args.get_ratio, args.value_size, args.keys, args.mode = 50, 0.9, 64, 10000, "release"
    return args


def count(args):
    """{(address, size): executions} of one window of requests."""
    counter = plugin.Counter(profile=True)
    row = servers.ROWS[args.row](servers.Settings(1, "256M", "tcg"))
    try:
        with row.start(counter.arguments) as running:
            def load(n, **kwargs):
                loadgen.run(args, running.address, args.depth, count=n, **kwargs)
                return counter.blocks()
            load(args.window // 5, populate=True)
            a = counter.blocks()
            b = load(args.window // 5)
            c = load(args.window // 5 + args.window)
            return {k: (c[k] - b.get(k, 0)) - (b.get(k, 0) - a.get(k, 0)) for k in c}
    finally:
        counter.close()


def program_offset(blocks, path):
    """The address the program was loaded at: the page offset at which most hot blocks begin at a function's start."""
    out = subprocess.run(["llvm-nm-19", "--defined-only", str(path)], capture_output=True, text=True).stdout
    starts = [int(m[1], 16) for m in re.finditer(r"^([0-9a-f]{16}) [tT] ", out, re.M)]
    low = [a for (a, _), n in sorted(blocks.items(), key=lambda i: -i[1]) if a < 1 << 47][:400]
    by_page = {}
    for s in starts:
        by_page.setdefault(s & 0xfff, []).append(s)
    votes = {}
    for a in low:
        for s in by_page.get(a & 0xfff, ()):
            votes[a - s] = votes.get(a - s, 0) + 1
    if not votes:
        raise UserError("no block of the program was executed")
    return max(votes, key=votes.get)


def main():
    args = parse_arguments()
    report.VERBOSE = args.verbose
    build.ensure_configured([args.mode])
    build.build(["build/release/" + n for n in ("solaster-kernel.elf", "memcached", "mcbench")])
    if args.row == "b":
        peers.prepare()
    plugin.build_plugin()
    qemu.binary_path()
    servers.make_network(1)
    blocks = count(args)
    program = build.out(args.mode) / "memcached"
    tables = [plugin.Symbols(program, program_offset(blocks, program))]
    if args.row == "c":
        tables.append(plugin.Symbols(build.out(args.mode) / "solaster-kernel.elf"))
    functions, listed = {}, []
    for (address, size), executed in blocks.items():
        if executed <= 0:
            continue
        name = next(filter(None, (t.find(address) for t in tables)), None)
        if name is None:
            name = "kernel: %#x" % (address & ~0xfff) if address >> 63 else "unknown: %#x" % (address & ~0xfff)
        elif address >> 63:
            name = "kernel: " + name
        functions[name] = functions.get(name, 0) + size * executed
        if args.blocks and args.blocks in name:
            listed.append((size * executed, address, size, executed, name))
    show(args, functions, listed)
    return 0


def short(name):
    name = re.sub(r"\[abi:\w+\]|\(anonymous namespace\)::|solaster::", "", name)
    while (new := re.sub(r"<[^<>]*>", "", name)) != name:
        name = new
    return re.sub(r"\(.*", "", name)[:90] or name[:90]


def show(args, functions, listed):
    total = sum(functions.values())
    print("%.0f instructions per request at depth %d" % (total / args.window, args.depth))
    print("\n%12s  %6s  layer" % ("per request", "part"))
    layers = {}
    for name, n in functions.items():
        layer = next((label for label, pattern in LAYERS if re.search(pattern, name)), "other")
        layers[layer] = layers.get(layer, 0) + n
    for layer, n in sorted(layers.items(), key=lambda i: -i[1]):
        print("%12.1f  %5.1f%%  %s" % (n / args.window, 100 * n / total, layer))
    print("\n%12s  %6s  function" % ("per request", "part"))
    for name, n in sorted(functions.items(), key=lambda i: -i[1])[:args.top]:
        print("%12.1f  %5.1f%%  %s" % (n / args.window, 100 * n / total, short(name)))
    for n, address, size, executed, name in sorted(listed, reverse=True)[:60]:
        print("%12.1f  %#x  %d instructions x %.3f  %s" % (n / args.window, address, size, executed / args.window, short(name)))


if __name__ == "__main__":
    report.run_main(main)
