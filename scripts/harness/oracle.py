"""What plain clang and ld.lld make of a kernel tree, one command at a time.

The results are what backlto is measured against, so nothing here is shared with it:
not its reading of .cmd files, not what it says of a tree.
"""

import concurrent.futures
import os
import re
import shlex
import subprocess

from harness.run import JOBS, Unable, llvm, output, remove

INDEX = "vmlinux.thinlto-index"
LLD, AR = llvm("ld.lld"), llvm("llvm-ar")


class TreeError(Unable):
    """The tree does not look as kbuild leaves it."""


def read(tree, name):
    """A text of the tree; paths and strings in it need not be UTF-8."""
    try:
        return (tree / name).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise TreeError(f"{tree / name}: {error.strerror}") from error


def bitcode(tree):
    """The bitcode objects of vmlinux, in the order of the link."""
    return [line for line in read(tree, INDEX).split("\n") if line]


def native(name):
    """Where the back end's object of the bitcode object NAME goes."""
    return f"{name.removesuffix('.o')}.thinlto-native.o"


def debug_file(name):
    """Where the debug information of the bitcode object NAME goes, if it is split."""
    return f"{native(name).removesuffix('.o')}.dwo"


# --- .cmd files ---------------------------------------------------------------

def unescape_make(text):
    """Undoes what kbuild does to a command so that make can read it back."""

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
    # punctuation_chars makes an operator a word of its own even where no blank precedes
    # it; an operator inside quotes stays part of its word.
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


def cmd_file(target):
    directory, name = os.path.split(target)
    return os.path.join(directory, f".{name}.cmd")


def variables(tree, target):
    """What the .cmd file of TARGET says of it: savedcmd, source, saved_c_flags."""
    lines = re.findall(r"^(savedcmd|source|saved_c_flags)_(\S+) := (.*)",
                       read(tree, cmd_file(target)), re.M)
    return {what: value for what, name, value in lines
            if os.path.normpath(name) == os.path.normpath(target)}


def command(tree, target):
    """The words of the command that made TARGET."""
    saved = variables(tree, target)
    if "savedcmd" not in saved:
        raise TreeError(f"{cmd_file(target)}: no savedcmd_{target}")
    try:
        return first_command(unescape_make(saved["savedcmd"]))
    except TreeError as error:
        raise TreeError(f"{cmd_file(target)}: {error}") from error


def flags(tree, target):
    """(compiler words, flags) with which kbuild compiled the object TARGET."""
    words = command(tree, target)
    # $(CC) may be several words (a wrapper before it, options of its own); kbuild's flags
    # begin with the file of dependencies.
    start = next((i for i, word in enumerate(words) if word.startswith("-Wp,-M")), 0)
    if start == 0:
        raise TreeError(f"{cmd_file(target)}: no compiler command in savedcmd_{target}")
    compiler, rest = words[:start], words[start:]
    saved = variables(tree, target).get("saved_c_flags")
    if saved is not None:
        # Unlike savedcmd, this text carries no escapes for make: kbuild writes it with
        # printf, and reads it back with sed from a $(shell), whose output make does not
        # expand.
        try:
            return compiler, first_command(saved)
        except TreeError as error:
            raise TreeError(f"{cmd_file(target)}: {error}") from error
    # "... -c -o X.o X.c": kbuild ends every C compile like this.
    if len(rest) < 4 or rest[-4:-2] != ["-c", "-o"]:
        raise TreeError(f"{cmd_file(target)}: savedcmd_{target} does not end in "
                        "-c -o OBJECT SOURCE")
    # The dependency file of the front end must not be written over.
    return compiler, [flag for flag in rest[:-4] if not flag.startswith("-Wp,-M")]


# --- stage 3 ------------------------------------------------------------------

def backend_command(name, how, result):
    """The words by which kbuild compiles the bitcode object NAME with HOW, its `flags`, and its
    summary index to the object RESULT."""
    compiler, recorded = how
    # The name of the file with the debug information is in the object: kbuild's, wherever
    # RESULT is.
    split = [word for option in ("-split-dwarf-file", debug_file(name))
             for word in ("-Xclang", option)] if "-gsplit-dwarf" in recorded else []
    return [*compiler, *recorded, *split, "-x", "ir", "-fno-lto",
            "-Wno-unused-command-line-argument", f"-fthinlto-index={name}.thinlto.bc", "-c",
            "-o", result, name]


def compile_backend(tree, name, how, result, messages):
    """Compiles the bitcode object NAME with HOW, its `flags`, and its summary index as
    kbuild does; RESULT gets the object, MESSAGES the compiler's. Status 128 + N stands
    for signal N."""
    # An object of an earlier run must not pass for this one's.
    remove(result)
    with open(messages, "wb") as log:
        status = subprocess.run(
            backend_command(name, how, result),
            cwd=tree, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if status:
        raise Unable(f"{name}: clang's status is {status if status > 0 else 128 - status}; "
                     f"what it said is in {messages}")
    # clang 22 may exit with 0 and leave nothing where its input is damaged.
    if not (result.exists() and result.stat().st_size):
        raise Unable(f"{name}: clang wrote no object, yet its status is 0")


def each(function, items):
    """FUNCTION of all ITEMS, as many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def results(out, name):
    """Where below OUT the object that comes of NAME and the compiler's messages go."""
    relative = os.path.normpath(name).lstrip("/")
    if relative.split("/")[0] == "..":
        raise TreeError(f"{name}: outside of the tree")
    return out / native(relative), out / f"{relative.removesuffix('.o')}.stderr"


def reference(tree, out):
    """Compiles every bitcode object of TREE: OUT gets DIR/X.thinlto-native.o and, with what
    the compiler said, DIR/X.stderr. The names of the bitcode objects."""
    # Everything is read before anything runs: a tree that is half understood gives no
    # half reference.
    jobs = [(name, flags(tree, name), *results(out, name)) for name in bitcode(tree)]
    for _, _, result, _ in jobs:
        result.parent.mkdir(parents=True, exist_ok=True)
    each(lambda job: compile_backend(tree, *job), jobs)
    return [job[0] for job in jobs]


# --- stage 4 ------------------------------------------------------------------

def link_command(tree, output_file, archive="vmlinux.a"):
    """The recorded link of vmlinux.o, to another file and from another archive."""
    words = command(tree, "vmlinux.o")
    words[words.index("vmlinux.o")] = str(output_file)
    at = words.index("vmlinux.a")
    return [*words[:at], str(archive), *words[at + 1:]]


def archived(tree, archive):
    """The members of an archive of the tree."""
    return [tree / name for name in output([AR, "t", archive], cwd=tree).split()]


def members(tree, natives):
    """What vmlinux.o is linked from: the native objects in the directory NATIVES, and those
    objects of the tree that never were bitcode."""
    compiled = set(bitcode(tree))
    return [results(natives, name)[0] if name in compiled else tree / name
            for name in read(tree, "builtin.order").split()]


def link(tree, natives, out):
    """OUT/vmlinux.o from its `members`."""
    archive = out / "vmlinux.a"
    remove(archive)
    # By a response file: they are too many for a command line.
    objects = out / "objects"
    objects.write_text("".join(f'"{member}"\n' for member in members(tree, natives)))
    output([AR, "cDPrS", "--thin", archive, f"@{objects}"])
    output(link_command(tree, out / "vmlinux.o", archive), cwd=tree)
    return out / "vmlinux.o"
