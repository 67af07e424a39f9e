#!/usr/bin/env python3
"""The sources of LLVM that ThinLTO backends spend their time in, compiled for `make dist`.

  source DIRECTORY         Debian's source of the LLVM that is installed, configured as that is,
                           with what TableGen makes of it
  prove DIRECTORY OUT      OUT/proved: those files in the list `hot` that give the very objects of
                           that LLVM's archives, when they are compiled as Debian compiles them
  compile DIRECTORY OUT PROVED FLAG...
                           these, with FLAGS, for OUT/lib: copies of that LLVM's archives which
                           have them in place of their own
  rank PROGRAM PERF...     what that list was made of: LLVM's files by the samples in recordings of
                           `perf record -e cpu-clock` of PROGRAM, a static one with its symbols

What was compiled stays in OUT/objects, and is not compiled again by the same flags and profile.
"""

import argparse
import bisect
import collections
import json
import os
import pathlib
import re
import shlex
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness.debian import Suite
from harness.oracle import each
from harness.run import (LLVM, Unable, directory, llvm, logged, main, output, remove, require,
                         say, sha)

HOT = HERE / "hot"
# By which Debian's archives are compiled (debian/rules, dpkg-buildflags, LLVM's cmake), as far as
# code goes; -g1 does change some.
DEBIAN_FLAGS = ["-O2", "-g1", "-fPIC", "-fno-semantic-interposition", "-fstack-protector-strong",
                "-D_FORTIFY_SOURCE=2"]
PACKAGE = f"llvm-toolchain-{LLVM}"
# Has had every release of LLVM so far.
SUITE = "sid"
# What of the source is unpacked; the rest is clang, other projects and tests.
PARTS = ("llvm", "cmake", "third-party")
# These have a say in the code.
PATCHED = re.compile(r"^\+\+\+ [^/\s]+/llvm/(lib|include)/", re.M)
TARGETS = os.environ.get("BACKLTO_TARGETS", "X86 AArch64 RISCV LoongArch").split()
# As Debian has it (llvm/Config/llvm-config.h), less what only other programs of LLVM's use.
CONFIGURED = {
    "CMAKE_BUILD_TYPE": "Release", "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
    "CMAKE_C_COMPILER": llvm("clang"), "CMAKE_CXX_COMPILER": llvm("clang++"),
    "LLVM_TARGETS_TO_BUILD": ";".join(TARGETS), "LLVM_ENABLE_RTTI": "ON",
    "LLVM_ENABLE_ASSERTIONS": "OFF", "LLVM_ENABLE_DUMP": "ON", "LLVM_ENABLE_PIC": "OFF",
    "LLVM_ENABLE_ZLIB": "FORCE_ON", "LLVM_ENABLE_ZSTD": "FORCE_ON", "LLVM_ENABLE_LIBXML2": "OFF",
    "LLVM_VERSION_SUFFIX": "",
    "LLVM_INCLUDE_TESTS": "OFF", "LLVM_INCLUDE_BENCHMARKS": "OFF", "LLVM_INCLUDE_EXAMPLES": "OFF",
    "LLVM_INCLUDE_DOCS": "OFF", "LLVM_ENABLE_BINDINGS": "OFF",
}


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="source|prove|compile|rank")
    source = steps.add_parser("source")
    source.add_argument("directory", type=directory)
    prove_ = steps.add_parser("prove")
    compile_ = steps.add_parser("compile")
    for step in (prove_, compile_):
        step.add_argument("directory", type=directory)
        step.add_argument("out", type=directory)
    compile_.add_argument("proved", type=pathlib.Path)
    compile_.add_argument("flags", nargs=argparse.REMAINDER)
    rank_ = steps.add_parser("rank")
    rank_.add_argument("program")
    rank_.add_argument("recordings", nargs="+")
    options = parser.parse_args()
    match options.step:
        case "source":
            fetch(options.directory)
        case "prove":
            prove(options.directory, options.out)
        case "compile":
            tree = Tree(options.directory, options.proved.read_text().split())
            replace(tree.compile(options.out, ["-O3", *options.flags]), options.out / "lib")
        case "rank":
            rank(options.program, options.recordings)


# --- source -----------------------------------------------------------------------

def fetch(home):
    """Leaves the source in HOME/source, and what was configured in HOME/tree."""
    require("cmake", "ninja", "patch", "tar", "xz")
    version, source, tree = config("--version"), home / "source", home / "tree"
    suite = Suite(home / "apt", SUITE, sources=True)
    remove(source)
    source.mkdir()
    original, packaging = suite.source(PACKAGE, version)
    say(f"LLVM {version}: {original.name}, {packaging.name}")
    top = original.name.removesuffix(".orig.tar.xz")
    output(["tar", "-xf", original, "-C", source, "--strip-components=1",
            *(f"{top}/{part}" for part in PARTS)])
    output(["tar", "-xf", packaging, "-C", source])
    patches = source / "debian/patches"
    for name in re.findall(r"^[^#\s]\S*", (patches / "series").read_text(), re.M):
        text = (patches / name).read_text(errors="surrogateescape")
        if PATCHED.search(text):
            output(["patch", "-d", source, "-p1", "--force", "-i", patches / name])
    original.unlink()
    own = {"LLVM_TABLEGEN": f"{config('--bindir')}/llvm-tblgen",
           "LLVM_HOST_TRIPLE": config("--host-target")}
    options = [f"-D{name}={value}" for name, value in {**CONFIGURED, **own}.items()]
    logged(["cmake", "-G", "Ninja", "-S", source / "llvm", "-B", tree, *options],
           home / "cmake.log", "cmake")
    made = output(["ninja", "-C", tree, "-t", "targets", "rule", "CUSTOM_COMMAND"])
    headers = re.findall(r"^\S+\.(?:inc|h|def)$", made, re.M)
    logged(["ninja", "-C", tree, *headers], home / "ninja.log", "what TableGen makes")


def config(option):
    return output([llvm("llvm-config"), option]).strip()


# --- compile ----------------------------------------------------------------------

class Tree:
    """The files NAMES, each LIBRARY/FILE, of the source below HOME."""

    def __init__(self, home, names):
        known = {}
        for entry in json.loads((home / "tree/compile_commands.json").read_text()):
            library = re.search(r"CMakeFiles/([\w.-]+)\.dir/", entry["command"])[1]
            known[f"{library}/{os.path.basename(entry['file'])}"] = entry
        missing = [name for name in names if name not in known]
        if missing:
            say(f"LLVM {config('--version')} has no {', '.join(missing)}")
        self.entries = {name: known[name] for name in names if name in known}

    def compile(self, out, flags):
        """The objects in OUT/objects, {LIBRARY/FILE: path}, by FLAGS."""
        objects, made_of = out / "objects", out / "made-of"
        identity = " ".join([config("--version"), *flags, *profiles(flags)])
        if not made_of.exists() or made_of.read_text() != identity:
            remove(objects)
            made_of.write_text(identity)
        made = {name: objects / f"{name}.o" for name in self.entries}
        missing = [name for name, path in made.items() if not path.exists()]
        say(f"{len(missing)} of {len(made)} files to compile")
        # The largest first: one of them may take minutes.
        missing.sort(key=lambda name: -os.path.getsize(self.entries[name]["file"]))
        each(lambda name: compile_one(self.entries[name], made[name], flags), missing)
        return made


def profiles(flags):
    """The digests of the profiles that FLAGS name."""
    return [sha(flag.partition("=")[2]) for flag in flags if flag.startswith("-fprofile-use=")]


def compile_one(entry, made, flags):
    made.parent.mkdir(parents=True, exist_ok=True)
    words = [word for word in shlex.split(entry["command"])
             if not word.startswith("-W") and word != "-O3"]
    words[words.index("-o") + 1] = part = f"{made}.part"
    logged([*words, "-w", *flags], f"{made}.log", entry["file"], cwd=entry["directory"])
    os.rename(part, made)


def prove(home, out):
    """Writes OUT/proved."""
    made = Tree(home, HOT.read_text().split()).compile(out, DEBIAN_FLAGS)
    there, theirs, proved = config("--libdir"), directory(out / "theirs"), []
    for name, ours in made.items():
        archive = f"{there}/lib{name.partition('/')[0]}.a"
        output([llvm("llvm-ar"), "x", "--output", theirs, archive, ours.name])
        differ = differences(theirs / ours.name, ours)
        if differ:
            say(f"{name} stays Debian's: other {', '.join(differ)}")
        else:
            proved.append(name)
    say(f"{len(proved)} of {len(made)} files give Debian's objects")
    (out / "proved").write_text("".join(f"{name}\n" for name in proved))


def differences(one, other):
    """The names of the sections of code and data in which two objects differ."""
    ours, theirs = sections(one), sections(other)
    return sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))


def sections(file):
    """What an object has in its sections of code and data, sorted, by their names. Calls and
    addresses are zero there: the linker fills them in."""
    found, contents = collections.defaultdict(list), file.read_bytes()
    for line in output([llvm("llvm-readelf"), "--sections", "--wide", file]).splitlines():
        match = re.match(r"\s*\[ *\d+\] (\.(?:text|rodata|data)\S*) +PROGBITS +\S+ "
                         r"(\S+) (\S+) ", line)
        if match:
            start, size = int(match[2], 16), int(match[3], 16)
            found[match[1]].append(contents[start:start + size])
    return {name: sorted(pieces) for name, pieces in found.items()}


def replace(objects, lib):
    """Copies the archives that have OBJECTS, {LIBRARY/FILE: path}, to LIB, with these in place
    of their own."""
    there, ours = pathlib.Path(config("--libdir")), collections.defaultdict(list)
    for name, made in objects.items():
        ours[name.partition("/")[0]].append(made)
    remove(lib)
    lib.mkdir()
    for library, members in ours.items():
        archive = f"lib{library}.a"
        theirs = collections.Counter(output([llvm("llvm-ar"), "t", there / archive]).split())
        for made in members:
            if theirs[made.name] != 1:
                raise Unable(f"{there / archive} has {made.name} {theirs[made.name]} times")
        shutil.copyfile(there / archive, lib / archive)
        output([llvm("llvm-ar"), "rs", lib / archive, *members])


# --- rank -------------------------------------------------------------------------

def rank(program, recordings):
    """Prints files, their share and the sum of the shares."""
    symbols = Symbols(program)
    samples, all_samples = collections.Counter(), 0
    for recording in recordings:
        for line in output(["perf", "script", "-i", recording, "-F", "ip"]).split():
            all_samples += 1
            if name := symbols.file(int(line, 16)):
                samples[name] += 1
    total = 0
    for name, count in samples.most_common():
        total += count
        print(f"{name} {count / all_samples:.5f} {total / all_samples:.4f}")


class Symbols:
    """The functions of PROGRAM, and the files that they are from."""

    def __init__(self, program):
        members = defined()
        table = []
        for line in output([llvm("llvm-nm"), "--defined-only", program]).splitlines():
            address, _, name = line.split(" ", 2)
            table.append((int(address, 16), members.get(name)))
        table.sort(key=lambda pair: pair[0])
        self.starts, self.files = [start for start, _ in table], [of for _, of in table]

    def file(self, address):
        """The file of the function at ADDRESS, if that is LLVM's."""
        at = bisect.bisect_right(self.starts, address) - 1
        return self.files[at] if at >= 0 else None


def defined():
    """LIBRARY/FILE of each function in LLVM's archives: of those of one name, of one with
    external linkage if there is any."""
    members, static = {}, {}
    archives = sorted(pathlib.Path(config("--libdir")).glob("libLLVM*.a"))
    for line in output([llvm("llvm-nm"), "-A", "--defined-only", *archives]).splitlines():
        match = re.match(r".*/lib(LLVM\w+)\.a:(\S+)\.o: \w+ ([TWt]) (\S+)$", line)
        if match:
            of = static if match[3] == "t" else members
            of.setdefault(match[4], f"{match[1]}/{match[2]}")
    return static | members


if __name__ == "__main__":
    main(drive)
