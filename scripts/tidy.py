#!/usr/bin/env python3
"""Check what a machine can check of the project's habits.

    scripts/tidy.py            everything; status 1 if a rule is broken (warnings do not count)
    scripts/tidy.py --fast     without compiling each header alone
    scripts/tidy.py --unused   also functions that no program of build/release needs (after ninja release)

Rules: layer arrows (which folder may include which, and which way inside it), headers that compile alone, `#pragma once`, banned calls
and headers, no tabs or trailing blanks, clang-format, no path of somebody's machine. Warnings: files past 600 lines, functions past 100
lines, folders without a README, raw casts without a SAFETY line.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from solaster import build, report, unused

ROOT = build.ROOT
FILE_LINES, FUNCTION_LINES = 600, 100
CODE = (".hh", ".cc", ".h", ".c", ".S")

# Folder: what its quoted includes may begin with.
ARROWS = {
    "net": ("net/",),
    "kernel": ("kernel/", "net/"),
    "framework": ("framework/", "net/"),
    "apps": ("framework/", "apps/"),
    "demos": ("framework/",),
}
# Top folder: its folders from the bottom up. A file includes what stands in its own folder or in one further left; a
# folder inside a folder ("reactor/backend") has a place of its own if it is named here, else its parent's. The same
# order stands in the top folder's README. What is not in the table is not checked yet.
FOLDER_ORDER = {
    "net": ("base", "packet", "wire", "device", "virtio", "host", "ip", "udp", "tcp", "stack"),
    "kernel": ("include", "lib", "abi", "arch", "sync", "firmware", "mm", "sched", "drivers", "direct", "fs", "task", "sys",
               "platform", "debug", "boot"),
    "framework": ("base", "fmt", "host", "memory", "future", "log", "reactor", "sync", "io", "device", "socket", "app", "testing"),
}
# Folder: headers it may not include, as a regular expression of the name between the brackets.
BANNED_HEADERS = {
    "net": r"(sys/|linux/|netinet/|arpa/|fmt/|unistd\.h|pthread\.h|signal\.h|time\.h|ctime|cstdio|stdio\.h|thread|mutex|"
           r"condition_variable|iostream|fstream|sstream|iosfwd|regex|random|future|solaster/).*",
    "kernel": r"(sys/|linux/|netinet/|fmt/|unistd\.h|pthread\.h|thread|mutex|condition_variable|iostream|fstream|sstream|"
              r"regex|random|string|vector|map|set|deque|unordered_map|functional)$|^fmt/.*",
    "framework": r"(regex)$",
    "apps": r"(solaster/.*|regex|sys/socket\.h|netinet/.*)$",
    "demos": r"(solaster/.*|sys/.*|netinet/.*|unistd\.h)$",
}
BANNED_CALLS = [
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca)\s*\(", "unbounded or unsafe C function"),
    (r"(?<![\w.:>])s?rand\s*\(", "rand: hand the randomness in, with a seed"),
    (r"\busing namespace std\s*;", "using namespace std"),
    (r"#\s*include\s*<bits/", "a header of libstdc++'s own"),
]
NET_BANNED_CALLS = [
    (r"\bstd::(mutex|thread|atomic\b|function\b|chrono::(steady|system)_clock)", "net/ has no locks, threads or clock"),
    (r"\b(malloc|calloc|realloc|getenv|printf|std::free|::free|std::abort)\s*\(", "net/ gets its memory from its host and prints nothing"),
    (r"\bthread_local\b", "net/ has no globals"),
]
# Where atomics are at home although the folder has none: the virtio ring's indices.
ATOMICS_AT_HOME = ("net/virtio/",)
MACHINE_PATHS = re.compile(r"/(work|home|root)/[a-z]")
RAW = re.compile(r"\breinterpret_cast<|\bvolatile\b|\basm\s*(volatile)?\s*\(")
HEADER_FLAGS = {
    "net": ["-fno-exceptions", "-fno-rtti", "-mno-sse", "-mno-mmx", "-mno-avx", "-mno-red-zone", "-mcmodel=kernel", "-fno-pic"],
    "kernel": ["-fno-exceptions", "-fno-rtti", "-mno-sse", "-mno-mmx", "-mno-avx", "-mno-red-zone", "-mcmodel=kernel",
               "-fno-pic"],
}


class Findings:
    def __init__(self):
        self.errors, self.warnings = [], []

    def error(self, path, line, message):
        self.errors.append("%s:%d: %s" % (path, line, message))

    def warn(self, path, line, message):
        self.warnings.append("%s:%d: warning: %s" % (path, line, message))


def tracked_files():
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                         capture_output=True)
    if out.returncode == 0:
        names = sorted(set(out.stdout.decode().split("\0")) - {""})
    else:  # not a git checkout
        names = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*")
                       if not {"build", ".git"} & set(p.relative_to(ROOT).parts[:1]))
    return [n for n in names if (ROOT / n).is_file()]


def without_comments(text):
    """The code with comments and string literals blanked, line for line."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def check_code(path, text, found):
    top = path.split("/")[0]
    lines = text.splitlines()
    if path.endswith((".hh", ".h")) and "#pragma once" not in text and not re.search(r"^#ifndef \w+\n#define", text, re.M):
        found.error(path, 1, "a header needs #pragma once")
    for number, line in enumerate(lines, 1):
        if line.rstrip() != line:
            found.error(path, number, "blanks at the end of the line")
        if "\t" in line and not path.endswith(".S"):
            found.error(path, number, "a tab")
        check_include(path, top, number, line, found)
    code = without_comments(text).splitlines()
    banned = BANNED_CALLS + (NET_BANNED_CALLS if top == "net" and not path.startswith(ATOMICS_AT_HOME) else [])
    for number, line in enumerate(code, 1):
        for pattern, why in banned if top in ARROWS else ():
            if re.search(pattern, line):
                found.error(path, number, "%s: %s" % (line.strip()[:60], why))
    if top in ARROWS:
        check_raw(path, lines, code, found)
    if len(lines) > FILE_LINES:
        found.warn(path, len(lines), "%d lines: look for the second subject in it" % len(lines))
    if path.endswith((".cc", ".hh")):
        check_functions(path, code, found)


def check_include(path, top, number, line, found):
    quoted = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
    if quoted and top in ARROWS and not quoted[1].startswith(ARROWS[top]):
        found.error(path, number, "%s/ may not include \"%s\" (it may use %s)" % (top, quoted[1], ", ".join(ARROWS[top])))
    if quoted and top == "apps":
        other = re.match(r"apps/(\w+)/", quoted[1])
        if other and other[1] != path.split("/")[1]:
            found.error(path, number, "an app may not include another's \"%s\"" % quoted[1])
    if quoted and top in FOLDER_ORDER and quoted[1].startswith(top + "/"):
        check_order(path, top, number, quoted[1], found)
    angled = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
    if angled and top in BANNED_HEADERS and re.fullmatch(BANNED_HEADERS[top], angled[1]):
        found.error(path, number, "%s/ may not include <%s>" % (top, angled[1]))


def folder_of(path, order):
    """The entry of `order` that a file belongs to (the longest that fits), or None: it lies in the top folder itself."""
    inside = "/".join(path.split("/")[1:-1])
    fitting = [f for f in order if inside == f or inside.startswith(f + "/")]
    return max(fitting, key=len) if fitting else (inside or None)


def check_order(path, top, number, included, found):
    order = FOLDER_ORDER[top]
    here, there = folder_of(path, order), folder_of(included, order)
    for folder in (here, there):
        if folder and folder not in order:
            found.error(path, number, "%s/%s has no place in FOLDER_ORDER" % (top, folder))
            return
    if here and there and order.index(there) > order.index(here):
        found.error(path, number, "an arrow up: %s/%s is below %s/%s" % (top, here, top, there))


def check_order_documented(found):
    """The README of each ordered top folder names the folders, each at the start of a table row, from the top down."""
    for top, order in FOLDER_ORDER.items():
        readme = ROOT / top / "README.md"
        text = readme.read_text() if readme.exists() else ""
        rows = re.findall(r"^\| `([\w/]+)/` \|", text, re.M)
        if [r for r in rows if r in order] != list(reversed(order)):
            found.error("%s/README.md" % top, 1, "its table has to name the folders from the top down: %s" %
                        " ".join(reversed(order)))


def check_raw(path, lines, code, found):
    """A SAFETY line stands at most 8 lines above; one that begins "SAFETY (file)" speaks for the whole file."""
    if any("SAFETY (file)" in line for line in lines):
        return
    missing = [i for i, line in enumerate(code) if RAW.search(line) and
               not any("SAFETY" in above for above in lines[max(0, i - 8):i + 1])]
    if missing:
        found.warn(path, missing[0] + 1, "%d raw casts, volatile or asm without a SAFETY line near" % len(missing))


def check_functions(path, code, found):
    """A brace at column 0 ends a function that began at the last line which ends in `{` at column 0 or 2."""
    start = None
    for number, line in enumerate(code, 1):
        if re.match(r"\S.*\)[^;]*\{\s*$", line) and not line.startswith(("namespace", "struct", "class", "enum", "union")):
            start = number
        elif line.startswith("}") and start:
            if number - start > FUNCTION_LINES:
                found.warn(path, start, "a function of %d lines" % (number - start))
            start = None


def check_text(path, text, found):
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATHS.search(line) and path != "scripts/tidy.py":
            found.error(path, number, "a path of somebody's machine: %s" % line.strip()[:80])


def check_readmes(files, found):
    for top in ARROWS:
        for folder in sorted({"/".join(f.split("/")[:2]) for f in files if f.startswith(top + "/") and f.count("/") >= 2}):
            if not (ROOT / folder / "README.md").exists() and folder != "kernel/include":
                found.warn(folder, 1, "no README.md")


def check_format(files, found):
    """.clang-format decides; what it would change is an error."""
    tool = shutil.which("clang-format-19")
    if not tool:
        raise report.UserError("clang-format-19 not found; run scripts/setup.sh")
    sources = [f for f in files if f.endswith((".hh", ".cc", ".h", ".c"))]
    chunks = [sources[i::os.cpu_count()] for i in range(os.cpu_count())]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda c: subprocess.run([tool, "-n", *c], cwd=ROOT, capture_output=True, text=True).stderr, chunks)
        places = re.findall(r"^(\S+?):(\d+):\d+: warning: code should be clang-formatted", "".join(said), re.M)
    for path, line in {path: line for path, line in reversed(places)}.items():
        found.error(path, int(line), "not as .clang-format says: clang-format-19 -i %s" % path)


def check_unused(files, found):
    def read_code():
        return "\n".join(without_comments((ROOT / f).read_text()) for f in files
                         if f.endswith(CODE) or f == "docs/tutorial.md")
    for path, function in unused.find_unused("release", read_code):
        found.error(path, 1, "nobody uses %s" % function)


# ---------------------------------------------------------------- headers alone

def compile_header(compiler, path, cache):
    """None if the header compiles alone, else the compiler's first error. The answer is kept until a dependency changes."""
    record = cache / (hashlib.sha1(path.encode()).hexdigest() + ".json")
    try:
        saved = json.loads(record.read_text())
        if all(os.stat(ROOT / d).st_mtime_ns == t for d, t in saved["deps"].items()):
            return saved["error"]
    except (OSError, ValueError, KeyError):
        pass
    top = path.split("/")[0]
    depfile = record.with_suffix(".d")
    language = ["-x", "c", "-std=gnu17"] if path.endswith(".h") else ["-x", "c++", "-std=c++23"]
    command = [compiler, *language, "-fsyntax-only", "-Wall", "-Wextra", "-I.", "-Ikernel/include",
               *HEADER_FLAGS.get(top, []), "-MD", "-MF", str(depfile), "-include", path, "/dev/null"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    error = None
    if result.returncode != 0:
        error = next((line for line in result.stderr.splitlines() if "error:" in line), result.stderr.strip()[:300])
    deps = [path]
    try:
        deps += depfile.read_text().replace("\\\n", " ").split()[1:]
        depfile.unlink()
    except OSError:
        pass
    times = {d: os.stat(ROOT / d).st_mtime_ns for d in set(deps) if os.path.exists(ROOT / d)}
    record.write_text(json.dumps({"deps": times, "error": error}))
    return error


def check_headers(files, found):
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    import configure
    compiler = str(configure.find_compiler(None))
    cache = ROOT / "build/tidy"
    cache.mkdir(parents=True, exist_ok=True)
    headers = [f for f in files if f.endswith((".hh", ".h")) and f.split("/")[0] in (*ARROWS, "tests")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, error in zip(headers, pool.map(lambda h: compile_header(compiler, h, cache), headers)):
            if error:
                found.error(path, 1, "does not compile alone: %s" % error)
    return len(headers)


def main():
    p = report.Parser(prog="tidy.py", description=__doc__, formatter_class=report.argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fast", action="store_true", help="do not compile headers")
    p.add_argument("--unused", action="store_true", help="functions that no built program needs")
    p.add_argument("--quiet", action="store_true", help="no warnings")
    args = p.parse_args()
    found = Findings()
    files = tracked_files()
    for path in files:
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        check_text(path, text, found)
        if path.endswith(CODE):
            check_code(path, text, found)
    check_readmes(files, found)
    check_order_documented(found)
    check_format(files, found)
    if args.unused:
        check_unused(files, found)
    headers = 0 if args.fast else check_headers(files, found)
    for line in ([] if args.quiet else found.warnings) + found.errors:
        print(line)
    print("tidy: %d files, %d headers compiled alone: %d errors, %d warnings" %
          (len(files), headers, len(found.errors), len(found.warnings)))
    return 1 if found.errors else 0


if __name__ == "__main__":
    report.run_main(main)
