#!/usr/bin/env python3
"""Find the tools and write build.ninja and compile_commands.json.

    ./configure.py && ninja                       release
    ./configure.py --mode debug --mode sanitize   several modes side by side
    ./configure.py --mode all

Sources are found by folder, so a new file needs no registration; ninja runs
this script again when a source folder's listing changes. What goes into which
product stands in the functions below, one a product. Standard library only.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MODES = ("debug", "release", "sanitize")
MIN_CLANG = 19

WARNINGS = ["-Wall", "-Wextra", "-Werror=return-type"]
# Sources are named relative to the root and so is what the compiler records: the same bytes wherever the checkout lies.
COMMON = ["-fdebug-compilation-dir=.", "-I.", "-Ikernel/include",
          "-fdiagnostics-color=auto", "-fno-omit-frame-pointer", "-g", *WARNINGS]
USER_CXX = ["-std=c++23", "-fPIE", "-ffunction-sections", "-fdata-sections", "-pthread"]
USER_C = ["-std=gnu17", "-fPIE", "-pthread"]
NET_USER = ["-fno-exceptions", "-fno-rtti"]
# Not -ffreestanding: it would turn every memcpy of four bytes into a call. Only kernel/lib, which implements those
# functions, is compiled with it, so that a memcpy is not compiled into a call of itself.
KERNEL = ["-nostdlib", "-fno-exceptions", "-fno-rtti", "-mno-sse", "-mno-mmx", "-mno-avx", "-mno-red-zone",
          "-mcmodel=kernel", "-fno-pic", "-fno-pie", "-fno-stack-protector", "-mno-omit-leaf-frame-pointer",
          "-fno-threadsafe-statics", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fcf-protection=none",
          "-ffunction-sections", "-fdata-sections"]
KERNEL_CXX = ["-std=c++23"]
KERNEL_LIB = ["-ffreestanding", "-fno-builtin"]
MODE_FLAGS = {
    "debug": ["-O1", "-DSOLASTER_DEBUG=1"],
    "release": ["-O2"],
    "sanitize": ["-O1", "-DSOLASTER_DEBUG=1", "-DSOLASTER_SYSTEM_ALLOCATOR=1"],
}
# vptr needs run-time type information, which net/ is compiled without.
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined"]
LIBS = ["-lboost_program_options", "-luring"]
GTEST_LIBS = ["-lgmock", "-lgtest", "-lgtest_main"]
DEFAULT_SYMBOLS = "net/allowed-symbols.txt"
SOURCE_ROOTS = ("net", "kernel", "framework", "apps", "demos", "tests", "docs")


def fail(message):
    sys.exit("configure.py: " + message)


# ---------------------------------------------------------------- tools

def find_compiler(wanted):
    candidates = [wanted] if wanted else ["clang++-19", "clang++"]
    for name in candidates:
        path = shutil.which(name)
        if not path:
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        match = re.search(r"clang version (\d+)", text)
        if match and int(match[1]) >= MIN_CLANG:
            return Path(path)
        if wanted:
            kind = "it is clang %s" % match[1] if match else "it is not clang (g++ 12 miscompiles coroutines)"
            fail("cannot build with %s: %s; clang %d or later is needed" % (wanted, kind, MIN_CLANG))
    if wanted:
        fail("compiler not found: %s" % wanted)
    fail("clang++-%d not found; run scripts/setup.sh, or name one with --compiler" % MIN_CLANG)


def find_tools(compiler):
    """The compiler's own binutils: beside the real binary, else by version suffix, else plain."""
    version = re.search(r"-(\d+)$", compiler.name)
    suffixes = ["-" + version[1]] if version else []
    real = compiler.resolve().parent
    tools = {"cxx": str(compiler), "cc": str(compiler).replace("clang++", "clang")}
    for key, name in (("ar", "llvm-ar"), ("nm", "llvm-nm"), ("objcopy", "llvm-objcopy"), ("ld", "ld.lld")):
        beside = real / name
        found = str(beside) if beside.exists() else next(
            filter(None, (shutil.which(name + s) for s in [*suffixes, "-%d" % MIN_CLANG, ""])), None)
        if not found:
            fail("%s not found; run scripts/setup.sh" % name)
        tools[key] = found
    return tools


# ---------------------------------------------------------------- source folders

def walk(folder, pattern, exclude=()):
    """Files below folder that match, sorted, relative to the root; folders in exclude are left out."""
    base = ROOT / folder
    found = []
    for path in base.rglob("*") if base.is_dir() else ():
        rel = path.relative_to(ROOT).as_posix()
        if not re.search(pattern, rel) or any(rel.startswith(e + "/") or rel == e for e in exclude):
            continue
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        found.append(rel)
    return sorted(found)


def flat(folder, pattern):
    return [p for p in walk(folder, pattern) if p.rsplit("/", 1)[0] == folder]


def watched_folders():
    """Folders whose listing decides what is built: when one changes, ninja runs this script again."""
    out = []
    for top in SOURCE_ROOTS:
        base = ROOT / top
        if not base.is_dir():
            if top != "docs":
                out.append(".")
            continue
        for folder, names, _ in os.walk(base):
            names[:] = sorted(n for n in names if not n.startswith((".", "__pycache__")))
            out.append(Path(folder).relative_to(ROOT).as_posix())
    return sorted(set(out))


# ---------------------------------------------------------------- ninja file

class Ninja:
    def __init__(self):
        self.lines = []
        self.commands = []

    def var(self, name, value):
        self.lines.append("%s = %s" % (name, " ".join(value) if isinstance(value, list) else value))

    def rule(self, name, command, description, **extra):
        self.lines += ["rule " + name, "  command = " + command, "  description = " + description]
        self.lines += ["  %s = %s" % item for item in extra.items()]

    def build(self, outputs, rule, inputs, implicit=(), order=(), implicit_out=(), **variables):
        outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        line = "build " + " ".join(outputs)
        if implicit_out:
            line += " | " + " ".join(implicit_out)
        line += ": " + rule + "".join(" " + i for i in inputs)
        if implicit:
            line += " | " + " ".join(implicit)
        if order:
            line += " || " + " ".join(order)
        self.lines.append(line)
        self.lines += ["  %s = %s" % (k, " ".join(v) if isinstance(v, list) else v) for k, v in variables.items()]
        return outputs[0]


def write_rules(n, tools):
    for key, value in sorted(tools.items()):
        n.var(key, value)
    n.rule("cxx", "$cxx $flags -MMD -MF $out.d -c $in -o $out", "CXX $out", depfile="$out.d", deps="gcc")
    n.rule("c", "$cc $flags -MMD -MF $out.d -c $in -o $out", "CC $out", depfile="$out.d", deps="gcc")
    n.rule("ar", "rm -f $out && $ar rcsD $out $in", "AR $out")
    # A product carries its symbol table and a link to its debug information, which lies beside it: the file is also
    # what the guest loads, byte for byte, so it should not be ten times its code.
    n.rule("link", "$cxx $ldflags -o $out.full $in $libs && $objcopy --only-keep-debug $out.full $out.debug && "
           "$objcopy --strip-debug --add-gnu-debuglink=$out.debug $out.full $out && rm $out.full", "LINK $out")
    n.rule("link_plain", "$cxx $ldflags -o $out $in $libs", "LINK $out")
    n.rule("link_kernel", "$ld $ldflags -o $out $in", "LINK $out")
    n.rule("ksyms", "python3 $script $nm $in $out", "KSYMS $out")
    n.rule("relocatable", "$ld -r -o $out $in", "LD -r $out")
    n.rule("symbols", "python3 scripts/check_symbols.py --nm $nm --stamp $out $in", "CHECK $in")
    n.rule("snippets", "python3 scripts/snippets.py $in $out", "SNIPPETS $in")


class Mode:
    """The targets of one mode. Each method adds a product when its sources are there."""

    def __init__(self, n, mode):
        self.n, self.mode, self.out = n, mode, "build/" + mode
        self.groups = {"libs": [], "kernel": [], "programs": [], "tests": [], "abi": []}
        base = COMMON + MODE_FLAGS[mode]
        sanitize = SANITIZE if mode == "sanitize" else []
        self.user = base + USER_CXX + sanitize
        self.user_c = base + USER_C + sanitize
        self.kernel = base + KERNEL
        n.var("ldflags_" + mode, (["-pie", *sanitize, "-g"] if sanitize else ["-static-pie", "-g"]) +
              ["-pthread", "-fuse-ld=lld", "--ld-path=$ld", "-Wl,--gc-sections", "-Wl,--build-id=sha1",
               "-Wl,-z,relro,-z,now"])
        for name in ("user", "user_c", "kernel"):
            n.var("flags_%s_%s" % (name, mode), getattr(self, name))

    # flavour: user, net, kernel, netk
    def objects(self, sources, flavour="user"):
        out = []
        for src in sources:
            is_cxx = src.endswith(".cc")
            obj = "%s/obj/%s/%s.o" % (self.out, flavour, src)
            kernel = flavour in ("kernel", "netk")
            base = "kernel" if kernel else ("user" if is_cxx else "user_c")
            extra = NET_USER if flavour == "net" else []
            if kernel and is_cxx:
                extra = KERNEL_CXX
            if src.startswith("kernel/lib/") and is_cxx:
                extra = extra + KERNEL_LIB
            flags = ["$flags_%s_%s" % (base, self.mode), *extra]
            tool = "cxx" if is_cxx else "c"
            self.n.build(obj, tool, [src], flags=flags)
            self.n.commands.append((self.mode, tool, src, obj, getattr(self, base) + extra))
            out.append(obj)
        return out

    def archive(self, name, objs):
        if not objs:
            return []
        path = self.n.build("%s/%s" % (self.out, name), "ar", objs)
        self.groups["tests" if name.startswith("tests/") else "libs"].append(path)
        return [path]

    def program(self, target, inputs, libs=(), group="programs"):
        rule = "link_plain" if self.mode == "sanitize" else "link"
        extra = () if rule == "link_plain" else ["%s/%s.debug" % (self.out, target)]
        path = self.n.build("%s/%s" % (self.out, target), rule, inputs, implicit_out=extra, libs=list(libs),
                            ldflags="$ldflags_" + self.mode)
        self.groups[group].append(path)
        return path

    # ---- net/
    def add_net(self):
        sources = walk("net", r"\.cc$")
        self.net = self.archive("libnet.a", self.objects(sources, "net"))
        self.net_kernel = []
        if sources:
            objs = self.objects(sources, "netk")
            self.net_kernel = self.archive("libnet-kernel.a", objs)
            linked = self.n.build(self.out + "/obj/net-kernel.o", "relocatable", objs)
            allowed = [DEFAULT_SYMBOLS] if (ROOT / DEFAULT_SYMBOLS).exists() else []
            self.groups["kernel"].append(self.n.build(self.out + "/obj/net-symbols.ok", "symbols", [linked, *allowed],
                                                      implicit=["scripts/check_symbols.py"]))

    # ---- kernel/
    def add_kernel(self):
        script = "kernel/kernel.ld"
        if not (ROOT / script).exists():
            return
        objs = self.objects(walk("kernel", r"\.(cc|S)$", exclude=["kernel/include"]), "kernel")
        ldflags = ["-T", script, "-static", "--no-pie", "--gc-sections", "-z", "noexecstack", "-z",
                   "max-page-size=4096", "--build-id=sha1"]
        elf = self.out + "/solaster-kernel.elf"
        inputs = objs + self.net_kernel
        if (ROOT / "kernel/ksyms.py").exists():
            # Two links: the first gives the addresses, the second carries the table of them.
            first = self.n.build(self.out + "/obj/kernel-first.elf", "link_kernel", inputs, implicit=[script],
                                 ldflags=ldflags)
            table = self.n.build(self.out + "/obj/ksyms.S", "ksyms", [first], implicit=["kernel/ksyms.py"],
                                 script="kernel/ksyms.py")
            obj = self.n.build(self.out + "/obj/ksyms.o", "c", [table], flags="$flags_kernel_" + self.mode)
            inputs = objs + [obj] + self.net_kernel
        self.groups["kernel"].append(self.n.build(elf, "link_kernel", inputs, implicit=[script], ldflags=ldflags))

    # ---- framework/, apps/, demos/
    def add_framework(self):
        sources = walk("framework", r"\.cc$", exclude=["framework/testing"])
        self.framework = self.archive("libsolaster.a", self.objects(sources))
        self.testing = self.archive("libsolaster_testing.a", self.objects(walk("framework/testing", r"\.cc$")))

    def add_apps(self):
        self.cores = []
        folders = sorted(p.name for p in (ROOT / "apps").iterdir() if p.is_dir()) if (ROOT / "apps").is_dir() else []
        for app in folders:
            base = "apps/" + app
            sources = [s for s in walk(base, r"\.cc$", exclude=[base + "/bench"]) if s != base + "/main.cc"]
            core = self.archive("lib%s_core.a" % app, self.objects(sources))
            self.cores += core
            if (ROOT / base / "main.cc").exists():
                self.program(app, self.objects([base + "/main.cc"]) + core + self.framework + self.net, LIBS)
            bench = walk(base + "/bench", r"\.cc$")
            if bench:
                name = {"memcached": "mcbench"}.get(app, app + "_bench")
                parts = self.archive("lib%s_core.a" % name, self.objects(s for s in bench if s != base + "/bench/main.cc"))
                self.cores += parts
                self.program(name, self.objects([base + "/bench/main.cc"]) + parts + core + self.framework + self.net, LIBS)

    def add_demos(self):
        for src in flat("demos", r"\.cc$"):
            self.program("demos/" + Path(src).stem, self.objects([src]) + self.framework + self.net, LIBS)
        tutorial = "docs/tutorial.md"
        if (ROOT / tutorial).exists() and (ROOT / "scripts/snippets.py").exists():
            listed = subprocess.run([sys.executable, "scripts/snippets.py", "--list", tutorial], cwd=ROOT,
                                    capture_output=True, text=True)
            if listed.returncode != 0:
                fail(listed.stderr.strip())
            for name in listed.stdout.split():
                src = self.n.build("%s/obj/tutorial/%s.cc" % (self.out, name), "snippets", [tutorial],
                                   implicit=["scripts/snippets.py"])
                obj = self.n.build(src + ".o", "cxx", [src], flags="$flags_user_" + self.mode)
                self.program("tests/tutorial/" + name, [obj] + self.framework + self.net, LIBS, "tests")

    # ---- tests/
    def add_tests(self):
        harness = walk("tests/sim", r"\.cc$", exclude=["tests/sim/tools"])
        cases = [s for s in harness if re.search(r"(^|/)(test_[^/]*|[^/]*_test)\.cc$", s)]
        sim = self.archive("tests/libsim.a", self.objects([s for s in harness if s not in cases]))
        host = sim + self.testing + self.framework + self.net
        for name in ("net", "framework", "apps", "kernel"):
            sources = walk("tests/unit/" + name, r"\.cc$")
            if sources:
                self.program("tests/unit_" + name, self.objects(sources) + (self.cores if name == "apps" else []) + host,
                             GTEST_LIBS + LIBS, "tests")
        if cases:
            self.program("tests/sim", self.objects(cases) + host, GTEST_LIBS + LIBS, "tests")
        drill = walk("tests/drill", r"\.cc$")
        if drill:
            self.program("tests/drill", self.objects(drill) + host, GTEST_LIBS + LIBS, "tests")
        for src in flat("tests/sim/tools", r"\.cc$"):
            self.program("tests/" + Path(src).stem, self.objects([src]) + host, LIBS, "tests")
        for src in flat("tests/tools", r"\.cc$"):
            self.program("tests/tools/" + Path(src).stem, self.objects([src]) + self.cores + host, LIBS, "tests")
        if self.mode != "sanitize":
            for src in flat("tests/abi", r"\.(c|cc)$"):
                self.program("tests/abi/" + Path(src).stem, self.objects([src]), [], "abi")
            for src in flat("tests/bench", r"\.c$"):
                self.program("tests/bench/" + Path(src).stem, self.objects([src]), [], "abi")
        for src in flat("tests/bench", r"\.cc$"):
            self.program("tests/bench/" + Path(src).stem, self.objects([src]) + self.framework + self.net, LIBS, "tests")

    def add_phony(self):
        names = []
        for group, targets in self.groups.items():
            if targets:
                names.append(self.n.build("%s-%s" % (self.mode, group), "phony", targets))
        self.n.build(self.mode, "phony", names)


def write_if_changed(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def compile_commands(n, tools, modes):
    first = "release" if "release" in modes else modes[0]
    entries = []
    for mode, tool, src, obj, flags in n.commands:
        if mode != first or "/obj/netk/" in obj:
            continue
        driver = tools["cxx" if tool == "cxx" else "cc"]
        entries.append({"directory": str(ROOT), "file": src, "output": obj,
                        "arguments": [driver, *flags, "-c", src, "-o", obj]})
    return json.dumps(entries, indent=1) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Write build.ninja for the modes asked for.")
    parser.add_argument("--mode", action="append", choices=[*MODES, "all"], help="repeatable; default: release")
    parser.add_argument("--compiler", metavar="CXX", help="a clang++ of version %d or later" % MIN_CLANG)
    args = parser.parse_args()
    wanted = args.mode or ["release"]
    modes = [m for m in MODES if m in wanted or "all" in wanted]
    tools = find_tools(find_compiler(args.compiler))

    n = Ninja()
    n.lines.append("# Written by configure.py; run that instead of editing this.")
    n.var("ninja_required_version", "1.10")
    n.var("builddir", "build")
    write_rules(n, tools)
    again = ["python3", "configure.py", *("--mode=" + m for m in modes)]
    if args.compiler:
        again.append("--compiler=" + args.compiler)
    n.rule("configure", " ".join(again), "CONFIGURE", generator="1")
    tutorial = [p for p in ("docs/tutorial.md", "scripts/snippets.py") if (ROOT / p).exists()]
    folders = watched_folders()
    n.build("build.ninja", "configure", ["configure.py"], implicit=folders + tutorial)
    n.build(folders, "phony", [])  # a folder that went is a change of its parent, not an error
    for mode in modes:
        m = Mode(n, mode)
        for step in (m.add_net, m.add_kernel, m.add_framework, m.add_apps, m.add_demos, m.add_tests, m.add_phony):
            step()
    n.lines.append("default " + " ".join(modes))

    (ROOT / "build").mkdir(exist_ok=True)
    write_if_changed(ROOT / "compile_commands.json", compile_commands(n, tools, modes))
    # In place, and last: ninja compares this file's time with the folders', and a rename would touch the root.
    (ROOT / "build.ninja").write_text("\n".join(n.lines) + "\n")
    os.utime(ROOT / "build.ninja")
    print("configured %s with %s; now run ninja" % (", ".join(modes), tools["cxx"]))


if __name__ == "__main__":
    main()
