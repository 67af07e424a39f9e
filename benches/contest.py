#!/usr/bin/python3
"""backlto against all that runs ThinLTO backends, on kernels and C++ programs.

  ld.lld               one process, as many threads as processors (--thinlto-jobs)
  DTLTO, clang each    ld.lld hands the backends to a program that runs one clang for each; not
                       of a kernel, of whose flags (-mcmodel=kernel) it tells that nothing
  make, clang each     kbuild's stages 2 to 4, as Linux 7.2 has them
  xargs, clang each    the same without make
  ld.backlto           the command line of ld.lld, by ld.backlto; no cache
  backlto kbuild       stages 2 to 4 of a tree that it knows nothing of: it asks make first
  …, NAME              the same of the programs in the directory of --tuned NAME=DIRECTORY

They take turns, in rounds after one that warms caches. The WORKs are kernels, VERSION/KIND as
in harness/kernel.py, `rocksdb`: a shared library of some 300 modules of C++, -O2 -g, from the
sources in the crate librocksdb-sys; and `llvm`: one object of 228 modules of LLVM, -O3, which
are there after `make dist TUNE=full`. PLACE/contest has what came of it, contest.json,
contest.md, contest.svg and contest.png. A work that is not named again stays in there.
"""

import argparse
import json
import pathlib
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from harness import kernel, oracle
from harness.contest import contest, figures, plot, table
from harness.run import (JOBS, LLVM, Unable, directory, llvm, logged, main, output, program,
                         remove, say)

WORKS = ["6.12/boot", "7.2/small", "6.12/traced", "rocksdb"]
HERE = ROOT / "benches"
LLD = llvm("ld.lld")


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", metavar="N", type=int, default=5)
    parser.add_argument("--tuned", metavar="NAME=DIRECTORY", action="append", default=[])
    parser.add_argument("program", metavar="BACKLTO", type=program)
    parser.add_argument("directory", metavar="PLACE", type=directory)
    parser.add_argument("works", metavar="WORK", nargs="*", default=WORKS)
    options = parser.parse_args()
    # By what is added to the name of a contender.
    programs = {"": options.program}
    for word in options.tuned:
        name, _, place = word.partition("=")
        programs[f", {name}"] = program(f"{place}/backlto")

    home = directory(options.directory / "contest")
    kept = home / "contest.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for work in options.works:
        make = PROGRAMS.get(work, in_kernel)
        folder, contenders, forget = make(work, options.directory, programs)
        say(f"{work}: {len(contenders)} contenders, {options.rounds} rounds")
        results[work] = figures(contest(contenders, folder, options.rounds, forget))
        kept.write_text(json.dumps(results, indent=1))
    lines = [f"{JOBS} processors, LLVM {LLVM}, medians; ratios within one round", ""]
    for work, shown in results.items():
        lines += [*table(work, shown), ""]
    (home / "contest.md").write_text("\n".join(lines))
    print("\n".join(lines))
    plot(results, [home / "contest.svg", home / "contest.png"])


def in_kernel(work, place, programs):
    """Stages 2 to 4 of a kernel whose front end is done."""
    tree = kernel.Tree(work)
    build = kernel.with_front_end(tree, place, place / f"bench-{tree.file_name()}")
    obj, out = build.obj, "contest.o"
    first = next(iter(programs.values()))
    # Writes what the others need: the list of the modules, and the records of the links.
    output([first, "kbuild", obj, "-q", "--no-cache"])

    flags = [word for word in oracle.link_command(obj, out, "@builtin.order")
             if word != "--whole-archive" and word != "--no-whole-archive"]
    thin_link = [*flags, f"--thinlto-index-only={oracle.INDEX}"]
    thin_link[thin_link.index("-o") + 1] = "contest-index.o"
    last_link = [f"@{obj / 'contest.natives'}" if word == "@builtin.order" else word
                 for word in flags]
    modules = oracle.bitcode(obj)
    natives = [oracle.native(name) if name in set(modules) else name
               for name in oracle.read(obj, "builtin.order").split()]
    (obj / "contest.natives").write_text("\n".join(natives))
    with open(obj / "contest.commands", "w", encoding="utf-8") as commands:
        for name in modules:
            line = shlex.join(oracle.backend_command(name, oracle.flags(obj, name),
                                                     oracle.native(name)))
            # xargs takes the words apart once more.
            commands.write(f"{shlex.quote(line)}\n")
    contenders = {
        "ld.lld": [[*flags, f"--thinlto-jobs={JOBS}"]],
        "make, clang each": [thin_link, ["make", "-rR", "-f", HERE / "stage3.mk", f"-j{JOBS}",
                                         f"srctree={build.source}", "quiet=quiet_"], last_link],
        "xargs, clang each": [thin_link, ["xargs", "-a", "contest.commands", "-P", str(JOBS),
                                          "-n", "1", "sh", "-c"], last_link],
    }
    for tuning, backlto in programs.items():
        # Where kbuild does the thin link apart, no linker runs the backends.
        if not tree.has_index:
            # By the variables it knows a link of kbuild's.
            contenders[f"ld.backlto{tuning}"] = [[
                "env", "BACKLTO_CACHE_DIR=", f"srctree={build.source}", "objtree=.",
                "KBUILD_LDFLAGS=", backlto.with_name("ld.backlto"), *flags[1:]]]
        contenders[f"backlto kbuild{tuning}"] = [[backlto, "kbuild", obj, "-q", "--no-cache"]]

    def forget():
        (obj / ".tmp_backlto").unlink(missing_ok=True)
        for name in modules:
            (obj / oracle.native(name)).unlink(missing_ok=True)
    return obj, contenders, forget


def rocksdb(_, place, programs):
    """A C++ program with debug information."""
    folder = directory(place / "bench-rocksdb")
    return linked(folder, ["-shared", "-O2", "-g", *front_end(folder)], programs)


def llvm_itself(_, place, programs):
    """What has nine tenths of LLVM's time, as `make dist TUNE=full` compiled it."""
    objects = sorted((ROOT / "target/dist/hot-bitcode/objects").rglob("*.o"))
    if not objects:
        raise Unable("the modules of LLVM are made by `make dist TUNE=full`")
    # It is not code for a shared library, and nothing of it may be left out.
    return linked(directory(place / "bench-llvm"), ["-r", "-O3", *objects], programs)


def linked(folder, words, programs):
    """The link by clang++ with WORDS, in FOLDER."""
    link = [llvm("clang++"), "-flto=thin", "-o", "contest.out", *words]
    by_lld = [*link, f"--ld-path=/usr/bin/{LLD}"]
    contenders = {
        "ld.lld": [[*by_lld, f"-Wl,--thinlto-jobs={JOBS}"]],
        "DTLTO, clang each": [[*by_lld, *(f"-Wl,{word}" for word in dtlto())]],
    }
    for tuning, backlto in programs.items():
        linker = backlto.with_name("ld.backlto")
        contenders[f"ld.backlto{tuning}"] = [["env", "BACKLTO_CACHE_DIR=", *link,
                                              f"--ld-path={linker}"]]
    return folder, contenders, lambda: remove(folder / "contest.out")


def dtlto():
    """The words that have ld.lld run one clang for each backend."""
    return [f"--thinlto-distributor={HERE / 'clang_each.py'}",
            f"--thinlto-remote-compiler=/usr/bin/{llvm('clang')}"]


def front_end(folder):
    """Compiles RocksDB to bitcode, where it is not. The names of the objects."""
    package = HERE / "rocksdb/Cargo.toml"
    packages = json.loads(output(["cargo", "metadata", "--format-version", "1", "--locked",
                                  "--manifest-path", package]))["packages"]
    (crate,) = (pathlib.Path(each["manifest_path"]).parent for each in packages
                if each["name"] == "librocksdb-sys")
    sources = (crate / "rocksdb_lib_sources.txt").read_text().split()
    # It is made by the build, and stands beside the sources in the crate.
    sources = [name for name in sources if not name.endswith("build_version.cc")]
    flags = ["-std=c++20", "-O2", "-g", "-fPIC", "-flto=thin", "-w", "-DNDEBUG", "-DOS_LINUX",
             "-DROCKSDB_PLATFORM_POSIX", "-DROCKSDB_LIB_IO_POSIX",
             "-DROCKSDB_SUPPORT_THREAD_LOCAL", f"-I{crate}/rocksdb", f"-I{crate}/rocksdb/include"]
    pairs = [(crate / "rocksdb" / name, f"{number}.o") for number, name in enumerate(sources)]
    pairs.append((crate / "build_version.cc", "version.o"))
    missing = [pair for pair in pairs if not (folder / pair[1]).exists()]
    say(f"rocksdb: {len(missing)} of {len(pairs)} modules to compile")
    oracle.each(lambda pair: compile_one([llvm("clang++"), *flags, "-c", pair[0]], folder,
                                         pair[1]), missing)
    return [name for _, name in pairs]


def compile_one(command, folder, name):
    logged([*command, "-o", f"{name}.part"], folder / f"{name}.log", command[-1], cwd=folder)
    (folder / f"{name}.part").rename(folder / name)


PROGRAMS = {"rocksdb": rocksdb, "llvm": llvm_itself}

if __name__ == "__main__":
    main(drive)
