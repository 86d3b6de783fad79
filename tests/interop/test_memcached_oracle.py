"""Odd command lines, sent to Debian's memcached and to ours: both must answer the same bytes.

Where the two may differ: cas numbers (compared as one word).
"""
import re
import socket

import memcached_server as mc
from solaster import peers
from solaster.guest import free_port
from solaster.testing import guest_test, host_test

LONG = b"k" * 251
BIG = b"v" * (1 << 20)
# Of every kind of number that some command reads.
NUMBERS = (b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"4294967295", b"4294967296", b"4294967297", b"99999999999",
           b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"2592000",
           b"2592001", b"-1", b"1", b" 5", b"5x", b"0x10", b"+5", b"1e3", b"", b"-", b"5\t", b"\t5", b"5\tx", b"\v5", b"+-5")
STORE_A = b"set a 0 0 1\r\nx\r\n"
SCRIPTS = [
    # storing: sizes, flags, expiry, what is missing or too much
    b"set a 0 0 -1\r\n", b"set a 0 0 2147483647\r\n", b"set a 0 0 2\r\nabcd\r\n", b"set a 0 0 2 noreply\r\nabcd\r\nget a\r\n",
    b"set a x 0 1 noreply\r\nget a\r\n", b"set " + LONG + b" 0 0 1\r\nx\r\n", b"set " + LONG + b" 0 0 1 noreply\r\nx\r\n",
    b"set a 0 0 1 2\r\nx\r\n", b"set a 0 0 1 noreply x\r\nx\r\n", b"set a 4294967295 0 1\r\nx\r\nget a\r\n",
    b"set a 4294967296 0 1\r\nx\r\nget a\r\n", b"set a -1 0 1\r\nx\r\n", b"set a 0 99999999999 1\r\nx\r\n",
    b"set a 0 0 1x\r\nx\r\n", b"set a 0 0 +1\r\nx\r\nget a\r\n", b"set a 0 -1 1\r\nx\r\nget a\r\n", b"set a 0 0x 1\r\nx\r\n",
    b"set a 0 0 1048576\r\n" + BIG + b"\r\nget z\r\n", b"set a 0 0 1048576 noreply\r\n" + BIG + b"\r\nget z\r\n",
    STORE_A + b"add a 0 0 1048576\r\n" + BIG + b"\r\nget a\r\n", STORE_A + b"set a 0 0 1048576\r\n" + BIG + b"\r\nget a\r\n",
    b"set a 0 0 1 \r\nx\r\n", b"set\r\n", b"SET a 0 0 1\r\n", b"set a 0 0 1\nx\r\nget a\n", b"set a 0 0 1\r\nx\nget a\r\n",
    b"set a 0 0 1\r\nxyquit\r\nget a\r\n", b"set a 0 0 10\r\nabc\r\nget a\r\n\r\n", b"append a 0 0 1\r\nx\r\n",
    b"prepend a 0 0 1 noreply\r\nx\r\n", b"add a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\n", STORE_A + b"replace a 5 0 2\r\nyy\r\nget a\r\n",
    b"set a 5 0 1\r\nx\r\nappend a 9 0 1\r\ny\r\nprepend a 9 0 1\r\nw\r\nget a\r\n",
    # cas
    b"cas a 0 0 1\r\n", b"cas a 0 0 1 x\r\nx\r\n", b"cas a 0 0 1 5\r\nx\r\n", b"cas a 0 0 1 5 noreply\r\nx\r\n",
    b"cas a 0 0 1 5 6 7\r\n", STORE_A + b"cas a 0 0 1 18446744073709551615\r\ny\r\n", STORE_A + b"gets a a\r\n",
    # retrieving
    b"get a " + LONG + b"\r\n", b"get\r\n", b"gets\r\n", b"get \r\n", b" get a\r\n", STORE_A + b" get  a  b \r\n",
    STORE_A + b"get a a nope a\r\n", b"bget a\r\n", b"get a\tb\r\n", b"get a\x00b\r\n", b"get " + b"k " * 2000 + b"\r\n",
    b"gat\r\n", b"gat 0\r\n", b"gat x a\r\n", b"gats 0\r\n", b"gat 0 " + LONG + b"\r\n", STORE_A + b"gat 100 a b\r\ngats 0 a\r\n",
    STORE_A + b"gat -1 a\r\nget a\r\n",
    # delete
    b"delete\r\n", b"delete a 0\r\n", b"delete a 5\r\n", b"delete a noreply\r\n", b"delete a 0 noreply\r\n",
    b"delete a 1 2 3\r\n", b"delete a 5 noreply\r\n", b"delete " + LONG + b"\r\n", b"delete  a\r\n", STORE_A + b"delete a\r\ndelete a\r\n",
    # arithmetic
    b"incr\r\n", b"incr a\r\n", b"incr a 1\r\n", b"incr a x\r\n", b"incr a -1\r\n", b"incr a 1 noreply\r\n", b"incr a x noreply\r\n",
    b"decr a 1 2 3\r\n", b"incr a 99999999999999999999999\r\n", b"incr " + LONG + b" 1\r\n", STORE_A + b"incr a 1\r\n",
    *(b"set n 7 0 %d\r\n%s\r\nincr n 1\r\ngets n\r\ndecr n 3\r\nget n\r\n" % (len(v), v) for v in
      (b"5", b"9", b"5 5", b"5 ", b"", b"000000000000000000001", b"18446744073709551615", b"99999999999999999999", b"-1", b"00010",
       b"10", b"1.5", b" 7", b"1000000000000000000000000")),
    # touch, flush_all, verbosity
    b"touch\r\n", b"touch a\r\n", b"touch a 0\r\n", b"touch a x\r\n", b"touch a 0 noreply\r\n", b"touch a x noreply\r\n",
    b"touch a 0 0 0\r\n", b"touch " + LONG + b" 0\r\n", STORE_A + b"touch a -1\r\nget a\r\n",
    b"flush_all x\r\n", b"flush_all 0\r\n", b"flush_all noreply\r\n", b"flush_all 0 noreply\r\n", b"flush_all 0 1 2\r\n",
    b"flush_all -1\r\n", b"flush_all x noreply\r\n", b"flush_all  \r\n", STORE_A + b"flush_all\r\nget a\r\n",
    STORE_A + b"flush_all 100\r\nget a\r\nflush_all\r\n",
    b"verbosity\r\n", b"verbosity 0\r\n", b"verbosity x\r\n", b"verbosity 0 noreply\r\n", b"verbosity noreply\r\n",
    b"verbosity 0 2\r\n", b"verbosity 0 2 3\r\n", b"verbosity 0 1 2 3\r\n",
    *(script % n for n in NUMBERS for script in
      (b"set a 0 %s 1\r\nx\r\nget a\r\n", STORE_A + b"touch a %s\r\nget a\r\n", STORE_A + b"gat %s a\r\nget a\r\n",
       STORE_A + b"flush_all %s\r\nget a\r\n", b"verbosity %s\r\n", b"set a %s 0 1\r\nx\r\nget a\r\n",
       STORE_A + b"cas a 0 0 1 %s\r\ny\r\n", b"set a 0 0 1\r\n5\r\nincr a %s\r\n")),
    STORE_A + b"flush_all 100\r\nflush_all 2592001\r\nget a\r\n",
    # noreply as the last word, whatever is wrong before it
    *(STORE_A + command + b" noreply\r\nget a\r\n" for command in
      (b"set", b"set a", b"set a 0 0", b"set a 0 0 1 2", b"set a x 0 1", b"add a 0", b"append a 0 0", b"prepend x x x x", b"cas a",
       b"cas a 0 0", b"cas a 0 0 1", b"cas a 0 0 1 x", b"incr", b"incr a", b"incr a x", b"incr a 1", b"incr a 1 2", b"decr a",
       b"delete", b"delete a", b"delete a b", b"delete a 0 b", b"delete a b c", b"touch", b"touch a", b"touch a x", b"touch a 0 x",
       b"gat", b"gat 0", b"gat x", b"gat 0 a", b"get", b"get a", b"gets", b"flush_all x", b"flush_all 1", b"flush_all 1 2",
       b"flush_all 1 2 3", b"verbosity", b"verbosity x", b"verbosity 1 2", b"verbosity 1 2 3", b"bogus", b"bogus a", b"slabs",
       b"stats bogus", b"stats reset", b"shutdown")),
    # lines of any length
    STORE_A + b"get " + b"a " * 30000 + b"\r\nget a\r\n", STORE_A + b"gets " + b"a b " * 15000 + b"\r\nget a\r\n",
    STORE_A + b" " * 99 + b"get " + b"a " * 2000 + b"\r\n", STORE_A + b"get" + b" " * 5000 + b"a" + b" " * 5000 + b"\r\n",
    b"set a 0 0 8000\r\n" + b"v" * 8000 + b"\r\nget" + b" a" * 500 + b"\r\n",
    b"set a 0 0 1048516\r\n" + b"v" * 1048516 + b"\r\n", b"set a 0 0 1048517\r\n" + b"v" * 1048517 + b"\r\n",
    b"set a 5 0 1048513\r\n" + b"v" * 1048513 + b"\r\n",
    # no command at all
    b"\r\n", b"\n", b"GET / HTTP/1.0\r\n\r\n", b"bogus a b c d e f g h i\r\n", b"quit\r\n", b"quit now\r\n", b"quit noreply\r\n",
    b"\x80bogus\r\n", b"stats sizes\r\n", b"slabs\r\n", b"shutdown\r\n", b"x" * 1900 + b"\r\n", b"stats bogus\r\n", b"stats reset\r\n",
]


def answer(address, script):
    with socket.create_connection(address, 20) as s:
        s.settimeout(20)
        s.sendall(b"flush_all\r\n")
        assert mc.read_until(s, b"\r\n") == b"OK\r\n"
        try:
            s.sendall(script)
            s.shutdown(socket.SHUT_WR)
            got = mc.read_all(s)
        except ConnectionError as error:
            return "connection lost: " + type(error).__name__
    return re.sub(rb"(VALUE \S+ \d+ \d+) \d+\r", rb"\1 CAS\r", got)


def compare(ctx, server):
    peers.prepare()
    port = free_port()
    with ctx.process(str(peers.memcached_path()), ["-u", "root", "-l", "127.0.0.1", "-p", str(port), "-U", "0"],
                     env=peers.memcached_environment()) as oracle:
        ctx.connect(port).close()
        different = []
        for script in SCRIPTS:
            theirs = answer(("127.0.0.1", port), script)
            ours = answer((server.address, server.port), script)
            if theirs != ours:
                different.append("%r (%d bytes)\n    memcached: %r\n    ours:      %r" % (script[:80], len(script), theirs[:200], ours[:200]))
        assert oracle.process.poll() is None, oracle.output
    assert not different, "%d of %d scripts differ:\n%s" % (len(different), len(SCRIPTS), "\n".join(different))


@host_test(timeout=120)
def test_odd_lines_are_answered_as_by_memcached(ctx):
    with mc.process(ctx) as server:
        compare(ctx, server)


@host_test(timeout=120)
def test_odd_lines_on_four_shards_are_answered_as_by_memcached(ctx):
    with mc.process(ctx, ["--smp", "4"]) as server:
        compare(ctx, server)


@guest_test(machines=("microvm",), cpus=(1, 2), timeout=120)
def test_odd_lines_in_a_guest_are_answered_as_by_memcached(ctx):
    with mc.guest(ctx) as server:
        compare(ctx, server)
