#!/usr/bin/env python3
"""Takes the programs out of a tutorial, so that the tests compile what readers copy.

    snippets.py --list docs/tutorial.md       their names
    snippets.py docs/tutorial.md OUT/NAME.cc  the program NAME

A block that begins with ```cpp file=NAME belongs to program NAME; blocks of one name are joined in order. Every other
```cpp block is an error (nothing that looks like code may go uncompiled), but for ```cpp fragment.
"""
import re
import sys
from pathlib import Path


def programs(path):
    out = {}
    block = None
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        fence = re.match(r"```(.*)$", line)
        if not fence:
            if block is not None:
                block.append(line)
            continue
        if block is not None:
            block = None
            continue
        words = fence[1].split()
        if words[:1] != ["cpp"]:
            block = []
        elif words[1:] == ["fragment"]:
            block = []
        elif len(words) == 2 and re.fullmatch(r"file=\w+", words[1]):
            block = out.setdefault(words[1][5:], [])
            block.append('#line %d "%s"' % (number + 1, path))
        else:
            sys.exit("%s:%d: a C++ block needs file=NAME (or: fragment)" % (path, number))
    return out


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--list":
        print("\n".join(programs(sys.argv[2])))
    elif len(sys.argv) == 3:
        out = Path(sys.argv[2])
        found = programs(sys.argv[1])
        if out.stem not in found:
            sys.exit("%s has no program %s" % (sys.argv[1], out.stem))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(found[out.stem]) + "\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
