"""Functions that no product needs: the linker dropped them from every program, and no code names them.

The linker alone does not tell: it also drops what was inlined wherever it is called. So a function is reported when no linked
program holds it and its name stands in the sources no more often than its declaration and its definition account for.
"""
import collections
import re
import shutil
import subprocess

from . import build
from .report import UserError

OURS = re.compile(r"/obj/(?:user|net|kernel)/((?:net|kernel|framework|apps)/\S+)\.o$")
ELF = b"\x7fELF"
# Called by nobody we can see: the C library's family, the language's operators, what assembly and the linker script name.
NOT_OURS = re.compile(r"^(operator (new|delete)|fmt::|c?free$|reallocarray$|std::__glibcxx)")


def symbols(files, kinds):
    """(file, mangled name) of what these object files or programs define."""
    nm = shutil.which("llvm-nm-19") or "nm"
    out = subprocess.run([nm, "-A", "--defined-only", *map(str, files)], capture_output=True, text=True).stdout
    for match in re.finditer(r"^(\S+?): ?[0-9a-f]{16} (\w) (\S+)$", out, re.M):
        if match[2] in kinds:
            yield match[1], match[3]


def programs(folder):
    for path in folder.rglob("*"):
        if path.suffix in ("", ".elf") and "obj" not in path.relative_to(folder).parts and path.is_file():
            with open(path, "rb") as f:
                if f.read(4) == ELF:
                    yield path


def find_unused(mode, read_code):
    """[(source file, function)]. read_code() gives all sources as one text, without comments."""
    folder = build.out(mode)
    found = ((p, OURS.search(str(p))) for p in (folder / "obj").rglob("*.o"))
    objects = [p for p, ours in found if ours and (build.ROOT / ours[1]).exists()]  # not what an older build left behind
    linked = list(programs(folder)) if objects else []
    if not linked:
        raise UserError("nothing is built in %s: ninja %s" % (folder, mode))
    present = {name for _, name in symbols(linked, "tTwWiI")}
    defined = {name: OURS.search(path)[1] for path, name in symbols(objects, "T") if name not in present}
    filt = shutil.which("llvm-cxxfilt-19") or "c++filt"
    plain = subprocess.run([filt], input="\n".join(defined), capture_output=True, text=True).stdout.splitlines()
    words = collections.Counter(re.findall(r"\w+", read_code()))
    out = []
    for readable, (name, path) in zip(plain, defined.items()):
        short = re.sub(r"\[abi:\w+\]|\(.*", "", readable).split("::")[-1]
        if not NOT_OURS.match(readable) and "~" not in short and words[short] <= 2:
            out.append((path, readable))
    return sorted(out)
