#!/usr/bin/env python3
"""Compile a kernel tree's ThinLTO back ends with plain clang, one by one.

For every bitcode object DIR/X.o named in OBJ/vmlinux.thinlto-index, this runs
the compiler with the flags that kbuild recorded in DIR/.X.o.cmd and the
object's shard DIR/X.o.thinlto.bc, as the kernel's own distributed ThinLTO
does, and leaves under OUT:

    DIR/X.thinlto-native.o   the object
    DIR/X.stderr             what the compiler wrote to stderr
    DIR/X.status             its exit status (128 + N if signal N ended it)

The results are what other drivers of the back ends are measured against, so
nothing here is shared with them.

Exit status: 0 if every compile succeeded and wrote an object, 1 if one did
not, 2 if the tree could not be read (then nothing was compiled).
"""

import argparse
import concurrent.futures
import os
import re
import shlex
import subprocess
import sys


class TreeError(Exception):
    """The tree does not look as kbuild leaves it."""


def unescape_make(text):
    """Undo what kbuild does to a command so that make can read it back."""

    def replace(match):
        escape = match.group(0)
        if escape == "$$":
            return "$"
        if escape in ("$(pound)", "\\#"):
            return "#"
        raise TreeError(f"unexpected make syntax at {text[match.start():][:40]!r}")

    return re.sub(r"\$\$|\$\(pound\)|\\#|\$", replace, text)


def first_command(text):
    """The words of the first simple command in TEXT, which is shell syntax."""
    # punctuation_chars makes an operator a word of its own even where no blank
    # precedes it; an operator inside quotes stays part of its word.
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = []
    try:
        for word in lexer:
            if word == ";":
                break
            if word and not word.strip("();<>|&"):
                raise TreeError(f"unexpected shell operator {word!r}")
            words.append(word)
    except ValueError as error:
        raise TreeError(f"cannot split the recorded command: {error}") from error
    return words


def recorded_flags(tree, path):
    """(compiler words, flags) with which kbuild compiled the object PATH."""
    directory, name = os.path.split(path)
    cmd_file = os.path.join(directory, f".{name}.cmd")
    saved = {}
    try:
        # Paths and strings in commands need not be UTF-8.
        with open(os.path.join(tree, cmd_file), encoding="utf-8",
                  errors="surrogateescape") as lines:
            for line in lines:
                match = re.match(r"(savedcmd|saved_c_flags)_(\S+) := (.*)", line)
                if match and os.path.normpath(match[2]) == os.path.normpath(path):
                    saved[match[1]] = match[3]
    except OSError as error:
        raise TreeError(f"{cmd_file}: {error.strerror}") from error
    if "savedcmd" not in saved:
        raise TreeError(f"{cmd_file}: no savedcmd_{path}")

    try:
        words = first_command(unescape_make(saved["savedcmd"]))
    except TreeError as error:
        raise TreeError(f"{cmd_file}: {error}") from error
    # The compiler may be several words (a wrapper before it).
    start = next((i for i, word in enumerate(words) if word.startswith("-")), 0)
    if start == 0:
        raise TreeError(f"{cmd_file}: no compiler command in savedcmd_{path}")
    compiler, flags = words[:start], words[start:]

    if "saved_c_flags" in saved:
        # Unlike savedcmd, this text carries no escapes for make: kbuild writes
        # it with printf, and reads it back with sed from a $(shell), whose
        # output make does not expand.
        try:
            return compiler, first_command(saved["saved_c_flags"])
        except TreeError as error:
            raise TreeError(f"{cmd_file}: {error}") from error

    # "... -c -o X.o X.c": kbuild ends every C compile like this.
    if len(flags) < 4 or flags[-4:-2] != ["-c", "-o"]:
        raise TreeError(f"{cmd_file}: savedcmd_{path} does not end in -c -o OBJECT SOURCE")
    # The dependency file of the front end must not be written over.
    return compiler, [f for f in flags[:-4] if not f.startswith("-Wp,-MMD,")]


def output_stem(out, path):
    """Where the results of object PATH go, without the suffix."""
    relative = os.path.normpath(path).lstrip("/")
    if relative.split("/")[0] == "..":
        raise TreeError(f"{path}: outside of the tree")
    return os.path.join(out, relative.removesuffix(".o"))


def compile_one(tree, path, stem, compiler, flags):
    """Run one back end; the exit status, or None if no object came of it."""
    native = f"{stem}.thinlto-native.o"
    os.makedirs(os.path.dirname(stem), exist_ok=True)
    # An object of an earlier run must not pass for this one's.
    if os.path.exists(native):
        os.remove(native)
    command = compiler + flags + [
        "-x", "ir", "-fno-lto", "-Wno-unused-command-line-argument",
        f"-fthinlto-index={path}.thinlto.bc", "-c", "-o", native, path,
    ]
    with open(f"{stem}.stderr", "wb") as stderr:
        status = subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL,
                                stdout=stderr, stderr=stderr, check=False).returncode
    if status < 0:
        status = 128 - status
    with open(f"{stem}.status", "w", encoding="ascii") as file:
        file.write(f"{status}\n")
    # clang 22 may exit with 0 and leave nothing where its input is damaged.
    if status == 0 and not (os.path.exists(native) and os.path.getsize(native)):
        return None
    return status


def positive(text):
    """An argparse type."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", metavar="OBJ",
                        help="build tree after the thin link (vmlinux.thinlto-index)")
    parser.add_argument("out", metavar="OUT", help="directory for the results")
    parser.add_argument("--every", metavar="N", type=positive, default=1,
                        help="only every Nth object of the list, the first one included")
    parser.add_argument("-j", "--jobs", metavar="N", type=positive,
                        default=len(os.sched_getaffinity(0)),
                        help="compiles at a time (default: one per usable processor)")
    options = parser.parse_args()
    tree, out = options.tree, os.path.abspath(options.out)

    jobs = []
    try:
        try:
            with open(os.path.join(tree, "vmlinux.thinlto-index"), encoding="utf-8",
                      errors="surrogateescape") as index:
                paths = [line for line in index.read().split("\n") if line]
        except OSError as error:
            raise TreeError(f"vmlinux.thinlto-index: {error.strerror}") from error
        # Everything is read before anything runs: a tree that is half
        # understood gives no half reference.
        for path in paths[::options.every]:
            jobs.append((path, output_stem(out, path), *recorded_flags(tree, path)))
    except TreeError as error:
        print(f"kernel-reference: {tree}: {error}", file=sys.stderr)
        return 2

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(compile_one, tree, *job): job[0] for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                status = future.result()
                if status == 0:
                    continue
                failed += 1
                what = "no object, yet exit status 0" if status is None \
                    else f"exit status {status}"
                print(f"kernel-reference: {futures[future]}: {what}", file=sys.stderr)
        except OSError as error:
            pool.shutdown(cancel_futures=True)
            print(f"kernel-reference: {error}", file=sys.stderr)
            return 2
    print(f"{len(jobs)} objects, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
