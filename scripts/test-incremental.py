#!/usr/bin/env python3
"""Edit a Linux kernel again and again, and look for objects that are stale.

In WORK this makes a Linux 6.12 tree for x86_64 and then, for one edit of the
source after the other, runs the front end and `backlto kbuild`. After each:

  - every summary index equals the one of a thin link done apart;
  - every native object equals the one that clang writes for these inputs;
  - vmlinux.o equals the one that ld.lld links from them.

The oracle keeps clang's objects by the content of all that went into them, and
compiles a sample of the others again each time. It shares nothing with backlto:
which module imports from which is what ld.lld says, keys are SHA-256.

A line for each edit says how many backends ran, how many objects came from the
cache, and how many objects really have other bytes than before.

Exit status: 0 if all is well, 1 at the first object that is not, 2 if the test
could not be done.
"""

import argparse
import functools
import hashlib
import os
import random
import re
import time

from harness import oracle
from harness.edited import LIMIT, LIMIT_ARGS, Edited, counter, in_function
from harness.kernel import KINDS
from harness.run import Failure, Unable, directory, llvm, main, output, program, remove, say, sha


class Oracle:
    """What clang and ld.lld make of the tree."""

    def __init__(self, kernel, everything, rng):
        self.kernel, self.everything, self.rng = kernel, everything, rng
        self.store, self.apart = directory(kernel.home / "oracle"), kernel.home / "apart"
        self.version = output([llvm("clang"), "--version"])

    def check(self):
        """Compares everything; how many objects clang had to compile for it."""
        self.check_order()
        imports = self.thin_link()
        names = self.kernel.objects()
        if sorted(imports) != sorted(names):
            raise Failure("vmlinux.thinlto-index lists other objects than the linker does")
        contents = {name: sha(self.kernel.obj / name) for name in names}
        incbins = functools.cache(self.incbins)
        jobs = {name: self.job(name, imports[name], contents, incbins) for name in names}
        compiled = self.compile(jobs)
        for name, (key, _) in jobs.items():
            if self.kernel.native(name).read_bytes() != self.kept(key).read_bytes():
                raise Failure(f"{self.kernel.native(name)} is not what clang makes of {name} "
                              f"({self.kept(key)})")
        self.check_link()
        return compiled

    def check_order(self):
        """The objects of vmlinux are the members of its archives."""
        obj, words = self.kernel.obj, self.link_words()
        members = set()
        for archive in ("built-in.a", "lib/lib.a", "arch/x86/lib/lib.a"):
            if (obj / archive).exists():
                members.update(oracle.archived(obj, archive))
        for word in words[words.index("--start-group"):]:
            if word.endswith(".a"):
                members.difference_update(oracle.archived(obj, word))
        listed = {obj / name for name in oracle.read(obj, "builtin.order").split()}
        if not listed or listed - members:
            raise Failure(f"builtin.order lists {listed - members}, which no archive has")
        libraries = {obj / "lib", obj / "arch/x86/lib"}
        lost = [name for name in members - listed if libraries.isdisjoint(name.parents)]
        if lost:
            raise Failure(f"builtin.order lacks {lost}")

    def link_words(self):
        """The recorded link, with the import limit that the source asks for."""
        words = oracle.link_command(self.kernel.obj, self.apart / "vmlinux.o")
        return [LIMIT.sub(self.kernel.import_limit(), word) for word in words]

    def thin_link(self):
        """Links apart, and compares the indexes; each object's imports."""
        remove(self.apart)
        self.apart.mkdir()
        words = self.link_words()
        flags = words[1:words.index("-r")]
        output([oracle.LLD, *flags, "-r", f"--thinlto-index-only={self.apart}/list",
                f"--thinlto-prefix-replace=;{self.apart}/", "--thinlto-emit-imports-files",
                "@builtin.order"], cwd=self.kernel.obj)
        imports = {}
        for line in (self.apart / "list").read_text().split():
            name = line.removeprefix(f"{self.apart}/")
            index = f"{name}.thinlto.bc"
            if (self.apart / index).read_bytes() != (self.kernel.obj / index).read_bytes():
                raise Failure(f"{self.kernel.obj}/{index} is not what ld.lld writes")
            imports[name] = (self.apart / f"{name}.imports").read_text().split()
        return imports

    def job(self, name, imports, contents, incbins):
        """The key of what clang makes of NAME, and the flags for it."""
        obj = self.kernel.obj
        compiler, flags = oracle.flags(obj, name)
        parts = [self.version, name, *compiler, *flags, contents[name],
                 sha(obj / f"{name}.thinlto.bc")]
        for other in sorted(imports):
            parts += [other, contents.get(other) or sha(obj / other)]
        for module in (name, *imports):
            for file in incbins(module):
                parts += [file, sha(obj / file)]
        key = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
        return key, (compiler, flags)

    def incbins(self, module):
        """The files that the source of MODULE pulls in by .incbin."""
        source = oracle.variables(self.kernel.obj, module).get("source")
        if not source:
            return []
        text = (self.kernel.obj / source).read_text(errors="replace")
        return re.findall(r'\.incbin \\"([^"\\]+)', text)

    def kept(self, key):
        return self.store / key[:2] / f"{key[2:]}.o"

    def compile(self, jobs):
        """Has clang compile what it has not yet, and a sample of the rest; how many it
        had not."""
        missing = [name for name, (key, _) in jobs.items()
                   if self.everything or not self.kept(key).exists()]
        rest = sorted(set(jobs) - set(missing))
        sample = self.rng.sample(rest, min(12, len(rest)))

        def one(name):
            key, how = jobs[name]
            kept = self.kept(key)
            kept.parent.mkdir(exist_ok=True)
            new = kept.with_suffix(".new.o")
            oracle.compile_backend(self.kernel.obj, name, how, new, kept.with_suffix(".stderr"))
            if kept.exists() and kept.read_bytes() != new.read_bytes():
                raise Unable(f"clang itself made two objects of {name}")
            os.replace(new, kept)

        oracle.each(one, missing + sample)
        return len(missing)

    def check_link(self):
        """Links vmlinux.o from the objects, which are clang's by now."""
        obj = self.kernel.obj
        if oracle.archived(obj, "vmlinux.a") != oracle.members(obj, obj):
            raise Failure("vmlinux.a has other members than builtin.order says")
        output(self.link_words(), cwd=obj)
        if sha(self.apart / "vmlinux.o") != sha(obj / "vmlinux.o"):
            raise Failure("vmlinux.o is not what ld.lld links")


# --- edits --------------------------------------------------------------------

BLOB = "backlto-blob.bin"
MODULE_ASM = ('\nasm(".pushsection .rodata.backlto, \\"a\\"\\n"\n'
              f'    ".incbin \\"{BLOB}\\"\\n"\n    ".popsection");\n')
INLINE_ASM = (f'\tasm volatile(".pushsection .rodata.backlto2, \\\\"a\\\\"\\\\n"\n'
              f'\t\t".incbin \\\\"{BLOB}\\\\"\\\\n.popsection");\n')
EXTRA = """#include <linux/export.h>
#include <linux/kernel.h>
int backlto_extra(int x);
int backlto_extra(int x) { return x * 3 + (int)sizeof(struct list_head); }
EXPORT_SYMBOL(backlto_extra);
"""


def blob(text):
    """An edit of the file that assembly pulls in; make knows nothing of it."""
    return lambda s: s.blob.write_text(text)


def revert(*names):
    return lambda s: [s.revert(name) for name in names]


# What it is called, how it is done, and what backlto is told besides.
QUICK = [
    ("nothing", lambda s: None),
    ("body of a function", in_function("init/main.c", "^void start_kernel", 1)),
    ("unused function added", lambda s: s.append(
        "lib/sort.c", "int backlto_unused(int x);\nint backlto_unused(int x) { return x * 77; }\n")),
    (".incbin in module assembly", lambda s: (
        blob("one")(s), s.append("lib/parser.c", MODULE_ASM))),
    ("file of .incbin changed", blob("two")),
    ("flag of one file", lambda s: s.append(
        "lib/Makefile", "CFLAGS_parser.o += -fno-inline\n")),
    ("file added", lambda s: (s.write("lib/backlto_extra.c", EXTRA),
                              s.append("lib/Makefile", "obj-y += backlto_extra.o\n"))),
    ("import limit 5 -> 20", lambda s: s.change("Makefile", LIMIT.pattern,
                                                "-import-instr-limit=20"), *LIMIT_ARGS),
    ("all taken back", lambda s: [s.revert(name) for name in list(s.edited)], *LIMIT_ARGS),
]

FULL = QUICK[:-1] + [
    ("only a date", lambda s: s.write("lib/string.c", s.read("lib/string.c"))),
    ("a comment at the end", lambda s: s.append("lib/string.c", "/* nothing */\n")),
    ("a comment at the start", lambda s: s.write(
        "kernel/fork.c", "/* all lines move */\n" + s.read("kernel/fork.c"))),
    ("small function, imported by many", in_function("lib/string.c", "^size_t strlen", 1)),
    ("the same again, another constant", lambda s: s.change(
        "lib/string.c", r"backlto_counter \+= 1;", "backlto_counter += 2;")),
    ("and back to the first", lambda s: s.change(
        "lib/string.c", r"backlto_counter \+= 2;", "backlto_counter += 1;")),
    ("inlined static", in_function("lib/sort.c", "^static void do_swap", 1)),
    ("static that becomes noinline", lambda s: s.change(
        "lib/sort.c", r"^static void do_swap", "static noinline void do_swap")),
    ("__section", lambda s: s.change(
        "lib/sort.c", r"^static noinline void do_swap",
        'static noinline __section(".text.backlto") void do_swap')),
    ("body in mm", in_function("mm/slab_common.c", "^static unsigned int calculate_alignment", 1)),
    ("a constant", lambda s: s.change(
        "lib/cmdline.c", r"(^int get_option\([^{]*{\n[^}]*?return) 0;", r"\1 4;")),
    ("a string", lambda s: s.change("init/main.c", r'"(Malformed|Booting|Kernel)', r'"\1!')),
    ("header of the block layer", lambda s: s.change(
        "include/linux/bio.h", r"(^static inline bool bio_has_data[^;{}]*\n{\n)",
        rf"\g<1>{counter(1)}")),
    ("header of a few", lambda s: s.append(
        "include/linux/sort.h", "\n/* nothing but a new date */\n")),
    ("EXPORT_SYMBOL added", lambda s: s.append("lib/sort.c", "EXPORT_SYMBOL(backlto_unused);\n")),
    ("EXPORT_SYMBOL removed", lambda s: s.change(
        "lib/sort.c", r"^EXPORT_SYMBOL\(backlto_unused\);\n", "")),
    (".incbin in inline assembly", lambda s: s.change(
        "lib/string.c", r"(^size_t strlen[^;{}]*\n{\n)", rf"\g<1>{INLINE_ASM}")),
    ("file of both .incbin changed", blob("three")),
    ("the same content again", blob("three")),
    ("back to an earlier content", blob("two")),
    ("file removed", lambda s: (s.revert("lib/Makefile"), s.revert("lib/backlto_extra.c"))),
    ("-O2 for a directory", lambda s: s.write(
        "block/Makefile", "subdir-ccflags-y += -O2\n" + s.read("block/Makefile"))),
    ("-D for one file", lambda s: s.append("lib/Makefile", "CFLAGS_bitmap.o += -DBACKLTO=1\n")),
    ("option of LLVM for one file", lambda s: s.append(
        "lib/Makefile", "CFLAGS_vsprintf.o += -mllvm -align-all-functions=5\n")),
    ("static that is global now", lambda s: s.change(
        "kernel/sys.c", r"^static int do_getpgid", "int do_getpgid(pid_t pid);\nint do_getpgid")),
    ("function removed", lambda s: s.change(
        "lib/sort.c", r"^int backlto_unused\(int x\);\nint backlto_unused.*\n", "")),
    ("import limit 20 -> 0", lambda s: s.change("Makefile", LIMIT.pattern,
                                                "-import-instr-limit=0"), *LIMIT_ARGS),
    ("import limit as it was", revert("Makefile"), *LIMIT_ARGS),
    ("a header that all use", lambda s: s.change(
        "include/linux/list.h", r"(^static inline int list_is_last[^;{}]*\n{\n)",
        r"\g<1>\tbarrier();\n")),
    ("all taken back", lambda s: [s.revert(name) for name in list(s.edited)]),
]


def random_edit(kernel, rng):
    """An edit of a random kind in a random file; what it was."""
    source = kernel.source
    sources = [f"{os.path.normpath(name).removesuffix('.o')}.c" for name in kernel.objects()]
    name = rng.choice([name for name in sources if (source.path / name).exists()])
    text, number = source.read(name), rng.randrange(1, 1000)
    texts = {
        "touch": text,
        "comment": f"/* {number} */\n{text}",
        "function": f"{text}int backlto_{number}(int x);\n"
                    f"int backlto_{number}(int x) {{ return x + {number}; }}\n",
        "variable": f"{text}int backlto_v{number} __attribute__((used)) = {number};\n",
    }
    functions = list(re.finditer(r"^[a-z][a-z_ *]* \**(\w+)\([^;{}()]*\)\n{\n", text, re.M))
    if functions:
        at = rng.choice(functions)
        texts["statement"] = text[:at.end()] + counter(number) + text[at.end():]
        for word in ("noinline", f"__attribute__((aligned({1 << rng.randrange(5, 8)})))",
                     "__attribute__((cold))"):
            texts[word] = f"{text[:at.start()]}{word} {text[at.start():]}"
    kind = rng.choice([*texts, "blob", *(["revert"] if source.edited else [])])
    if kind == "blob":
        source.blob.write_text(str(number))
    elif kind == "revert":
        name = rng.choice(source.edited)
        source.revert(name)
    else:
        source.write(name, texts[kind])
    return f"random: {kind}" if kind == "blob" else f"random: {kind} in {name}"


HEADING = ("edit", "front end", "backlto", "compiled", "cached", "imported", "there", "changed",
           "oracle")


def line(*columns):
    name, *numbers = columns
    print(f"{name[:48]:48}" + "".join(f"{number:>10}" for number in numbers), flush=True)


class Test:
    """A tree, edits of its source, and the oracle."""

    def __init__(self, backlto, work, kind, everything, seed):
        self.rng = random.Random(seed)
        self.kernel = Edited(backlto, work, kind)
        self.source = self.kernel.source
        self.source.blob = self.kernel.obj / BLOB
        self.source.blob.write_text("zero")
        # What an earlier test compiled does not count here.
        remove(self.kernel.cache, self.kernel.obj / ".tmp_backlto")
        self.oracle = Oracle(self.kernel, everything, self.rng)
        self.before = {}
        self.totals = dict.fromkeys(("compiled", "cached", "imported", "there", "changed"), 0)

    def build(self, name, *more):
        """Builds after the edit NAME, and prints its line."""
        start = time.monotonic()
        self.kernel.front_end()
        middle = time.monotonic()
        counts = self.kernel.kbuild(*more)
        end = time.monotonic()
        compiled = self.oracle.check()
        after = self.kernel.natives()
        counts["changed"] = sum(self.before.get(name) != digest for name, digest in after.items())
        if counts["changed"] > len(after) - counts["there"]:
            raise Failure("an object has other bytes, yet was said to be up to date")
        self.before = after
        for what, count in counts.items():
            self.totals[what] += count
        line(name, f"{middle - start:.1f} s", f"{end - middle:.1f} s",
             *(counts[what] for what in ("compiled", "cached", "imported", "there", "changed")),
             compiled)

    def random(self):
        """One random edit; one that clang does not accept is taken back."""
        edited = {name: self.source.read(name) for name in self.source.edited}
        name = random_edit(self.kernel, self.rng)
        try:
            self.kernel.front_end()
        except Unable:
            for file in list(self.source.edited):
                if file not in edited:
                    self.source.revert(file)
                elif self.source.read(file) != edited[file]:
                    self.source.write(file, edited[file])
            name += " (not accepted)"
        self.build(name)


def drive():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backlto", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory)
    parser.add_argument("--quick", action="store_true", help="a small kernel and few edits")
    parser.add_argument("--kind", metavar="KIND", choices=KINDS,
                        help=f"the kind of tree ({', '.join(KINDS)}); boot, with --quick small")
    parser.add_argument("--all", action="store_true",
                        help="have clang compile everything each time")
    parser.add_argument("--edits", metavar="N", type=int, help="random edits after the others")
    parser.add_argument("--seed", metavar="S", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    random_edits = options.edits if options.edits is not None else (0 if options.quick else 20)
    say(f"seed {options.seed}")
    kind = options.kind or ("small" if options.quick else "boot")
    test = Test(options.backlto, options.work, kind, options.all, options.seed)
    line(*HEADING)
    test.build("first build", *LIMIT_ARGS)
    for name, edit, *more in (QUICK if options.quick else FULL):
        edit(test.source)
        test.build(name, *more)
    for _ in range(random_edits):
        test.random()
    line("sum", "", "", *test.totals.values(), "")


if __name__ == "__main__":
    main(drive)
