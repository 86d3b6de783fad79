"""Saying what is being done, and failing in one clear line."""
import argparse
import os
import sys
import time

VERBOSE = False
STARTED = time.monotonic()


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and how."""


class MachineError(Exception):
    """The machine under the guest failed (QEMU or KVM), not the guest: the same will happen to the next one."""

    def __init__(self, reason, advice=""):
        super().__init__(reason + ("; " + advice if advice else ""))
        self.reason = reason


def say(message):
    print("%s: %s" % (program(), message), file=sys.stderr, flush=True)


def detail(message):
    if VERBOSE:
        say("[%6.2f s] %s" % (time.monotonic() - STARTED, message))


def program():
    return os.path.basename(sys.argv[0])


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, not a page of usage."""

    def error(self, message):
        self.exit(2, "%s: %s (--help lists the options)\n" % (self.prog, message))


def run_main(main):
    """Calls main() -> exit status; a UserError or MachineError becomes one line and status 1."""
    try:
        status = main()
    except (UserError, MachineError) as error:
        say("error: %s" % error)
        status = 1
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    sys.stdout.flush()
    sys.exit(status)
