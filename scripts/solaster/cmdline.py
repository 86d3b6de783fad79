"""The guest kernel's command line: `key=value ... -- /program arg "quoted arg"`."""
from .report import UserError

# QEMU cuts a longer one on q35 without a NUL and overwrites start_info.
LENGTH_MAX = 4000
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%^~[]{}()#!?*&|;<>$'")


def quote(word):
    if "\0" in word:
        raise UserError("an argument holds a NUL byte")
    if word and set(word) <= PLAIN:
        return word
    return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"')


def kernel_command_line(options, program, args):
    """options: a list of "key=value"; they come before the `--`, the program's own words after it."""
    line = " ".join([*(quote(o) for o in options), "--", quote(program), *(quote(a) for a in args)])
    if len(line.encode()) > LENGTH_MAX:
        raise UserError("the program's arguments are too long: %d bytes of command line, the limit is %d" %
                        (len(line.encode()), LENGTH_MAX))
    return line
