"""How a program's bad end looks from outside: the exit status, the reason on the console, the backtrace."""
from solaster.testing import guest_test

BOTH = dict(guests=[("microvm", 1), ("q35", 2)])


def end_of(ctx, way, status, *wanted, memory="64M"):
    """Runs tests/abi/crash WAY; its status and that each of `wanted` is a regular expression found on the console."""
    with ctx.guest("tests/abi/crash", [way], net="none", memory=memory) as guest:
        for pattern in wanted:
            guest.wait_for(pattern, 20)
        found = guest.wait(20)
        assert found == status, "status %s instead of %s; the console shows:\n%s" % (found, status, guest.output)
        return guest.output


@guest_test(**BOTH)
def test_null_dereference(ctx):
    output = end_of(ctx, "null", 139, r"killed by SIGSEGV: null pointer dereference: write to address 0x18")
    assert "write_null" in output and "outer_function" in output and "main" in output, output


@guest_test(**BOTH)
def test_stack_overflow(ctx):
    assert "recurse" in end_of(ctx, "overflow", 139, r"killed by SIGSEGV: stack overflow")


@guest_test(**BOTH)
def test_stack_overflow_in_a_thread(ctx):
    end_of(ctx, "overflow-in-thread", 139, r"killed by SIGSEGV: stack overflow.*thread 2")


@guest_test(**BOTH)
def test_call_of_null(ctx):
    assert "call_null" in end_of(ctx, "call-null", 139, r"null pointer dereference: jump to address 0x0")


@guest_test(**BOTH)
def test_write_to_code(ctx):
    end_of(ctx, "write-code", 139, r"SIGSEGV: write to address 0x[0-9a-f]+, which is not writable")


@guest_test(**BOTH)
def test_execution_of_data(ctx):
    end_of(ctx, "run-data", 139, r"SIGSEGV: jump to address 0x[0-9a-f]+, which is not executable")


@guest_test(**BOTH)
def test_write_to_the_upper_half(ctx):
    end_of(ctx, "write-kernel", 139, r"killed by SIGSEGV")


@guest_test(**BOTH)
def test_division_by_zero(ctx):
    end_of(ctx, "divide", 136, r"killed by SIGFPE: integer division")


@guest_test(**BOTH)
def test_invalid_instruction(ctx):
    end_of(ctx, "illegal", 132, r"killed by SIGILL: invalid instruction")


@guest_test(**BOTH)
def test_abort(ctx):
    end_of(ctx, "assert", 134, r"crash: assertion failed", r"killed by SIGABRT: abort\(\) was called")


@guest_test(**BOTH)
def test_wild_registers(ctx):
    """Bad stack pointers, handlers and return frames end the program, not the kernel."""
    for way in ("bad-handler", "far-handler", "bad-return", "bare-return", "no-stack", "odd-stack", "far-jump", "vdso-pointer"):
        output = end_of(ctx, way, 139, r"killed by SIGSEGV")
        assert "panic" not in output, (way, output)
    end_of(ctx, "high-stack", 132, r"killed by SIGILL")


@guest_test(**BOTH)
def test_a_handler_without_room_on_its_stack_does_not_run(ctx):
    assert "ran below" not in end_of(ctx, "full-alternate-stack", 139, r"killed by SIGSEGV")


@guest_test(**BOTH)
def test_swapgs_does_no_harm(ctx):
    end_of(ctx, "swapgs", 0, r"(?s)(after swapgs: 0.*){3}")


@guest_test(**BOTH)
def test_fatal_signals(ctx):
    end_of(ctx, "sigterm", 143, r"ended by signal 15")
    end_of(ctx, "sigkill", 137, r"ended by signal 9")


@guest_test(**BOTH)
def test_exit_statuses(ctx):
    end_of(ctx, "status-7", 7)
    end_of(ctx, "status-200", 200)


@guest_test(**BOTH)
def test_out_of_memory(ctx):
    with ctx.guest("tests/abi/crash", ["use-all-memory"], net="none", memory="64M") as guest:
        status = guest.wait(40)
        assert status in (3, 137), (status, guest.output)
    with ctx.guest("tests/abi/crash", ["read-all-memory"], net="none", memory="64M") as guest:
        assert guest.wait(40) == 137, guest.output
        assert "killed by SIGKILL: out of memory" in guest.output, guest.output


@guest_test(**BOTH)
def test_unsupported_calls_are_named_once(ctx):
    output = end_of(ctx, "unsupported", 0)
    for line in ("socket: ENOSYS", "fork: ENOSYS", "execve: ENOSYS", "pkey_alloc: ENOSYS", "number 1000: ENOSYS"):
        assert line in output, output
    for name in (r"system call socket \(41\)", r"unknown system call 1000", r"system call execve"):
        import re
        assert len(re.findall(name, output)) == 1, (name, output)


@guest_test(**BOTH)
def test_interrupt_from_the_console(ctx):
    for way, status, said in (("handle-interrupt", 5, "handled SIGINT"), ("spin-until-interrupt", 5, "handled SIGINT"),
                              ("die-of-interrupt", 130, "ended by signal 2")):
        with ctx.guest("tests/abi/crash", [way], net="none", memory="64M") as guest:
            guest.wait_for("waiting")
            guest.interrupt()
            guest.wait_for(said)
            assert guest.wait(10) == status, guest.output


@guest_test(**BOTH)
def test_a_program_takes_the_interrupt_byte_for_itself(ctx):
    with ctx.guest("tests/abi/crash", ["raw-terminal"], net="none", memory="64M") as guest:
        guest.wait_for("set: 0\r?\nsignals: 0\r?\ntype")
        guest.interrupt()
        guest.wait_for("read 1: 3")
        guest.wait_for("waiting")
        guest.send(b"q")
        assert guest.wait(10) == 130, guest.output


@guest_test(**BOTH)
def test_input_from_the_console(ctx):
    with ctx.guest("tests/abi/crash", ["echo-input"], net="none", memory="64M") as guest:
        guest.wait_for("type")
        guest.send(b"hello from outside\n")
        guest.wait_for("read: hello from outside")
        assert guest.wait(10) == 0
