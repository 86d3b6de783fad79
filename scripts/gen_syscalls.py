#!/usr/bin/env python3
"""Write docs/compatibility.md from kernel/sys/table.def.

    scripts/gen_syscalls.py            write it
    scripts/gen_syscalls.py --check    fail when it is out of date

Standard library only.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "kernel/sys/table.def"
OUTPUT = ROOT / "docs/compatibility.md"
LINE = re.compile(r'SYSCALL\((\d+), (\w+), (full|partial|none), "(.*)"\)')
HEAD = """# Compatibility: the Linux system calls

Generated from `kernel/sys/table.def` by `scripts/gen_syscalls.py`; do not edit. x86-64 numbers.

* **full**: Linux's semantics, as far as one process that runs in ring 0 as the only user can have them.
* **partial**: works, and the note says what is missing.
* everything else fails with ENOSYS, and the first use of each is named once on the console.

%d calls are full, %d partial, %d are not there.

"""


def read_table():
    rows = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if not line.startswith("SYSCALL("):
            continue
        match = LINE.fullmatch(line)
        if not match:
            sys.exit("%s:%d: not SYSCALL(number, name, full|partial|none, \"note\")" % (TABLE, number))
        rows.append((int(match[1]), match[2], match[3], match[4]))
    if [r[0] for r in rows] != sorted({r[0] for r in rows}):
        sys.exit("%s: the numbers must rise" % TABLE)
    return rows


def render(rows):
    count = {level: sum(r[2] == level for r in rows) for level in ("full", "partial", "none")}
    out = [HEAD % (count["full"], count["partial"], count["none"])]
    out.append("| number | call | support | note |\n| --- | --- | --- | --- |\n")
    out += ["| %d | `%s` | %s | %s |\n" % r for r in rows if r[2] != "none"]
    out.append("\n## Not there\n\nWith a reason:\n\n")
    out += ["* `%s` (%d): %s\n" % (r[1], r[0], r[3]) for r in rows if r[2] == "none" and r[3]]
    out.append("\nThe rest: " + ", ".join("`%s`" % r[1] for r in rows if r[2] == "none" and not r[3]) + ".\n")
    return "".join(out)


def main():
    text = render(read_table())
    if "--check" in sys.argv[1:]:
        if not OUTPUT.exists() or OUTPUT.read_text() != text:
            sys.exit("%s is out of date: run scripts/gen_syscalls.py" % OUTPUT.relative_to(ROOT))
        return
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
