#!/usr/bin/env python3
"""Kernel sources and trees, one step at a time.

WORK is the directory of the tests; a TREE is VERSION/KIND or VERSION/KIND/ARCH, as in
6.12/small/arm64 (see harness/kernel.py).
"""

import argparse
import pathlib

from harness import boot, kernel, oracle
from harness.run import directory, main, say
from harness.source import source


def fetch(options):
    """fetch Debian's kernel source into WORK and print where it is"""
    say(source(options.version, options.work))


def front_end(options):
    """configure TREE in OBJ and build up to the bitcode objects"""
    kernel.with_front_end(options.tree, options.work, options.obj)


def reference(options):
    """compile the back ends of the tree OBJ with clang into OUT, and link its vmlinux.o"""
    names = oracle.reference(options.obj, options.out)
    oracle.link(options.obj, options.out, options.out)
    say(f"{len(names)} objects")


def start(options):
    """boot IMAGE in QEMU; loads the modules below ROOT (INSTALL_MOD_PATH), if it is given"""
    modules = boot.installed_modules(options.root) if options.root else []
    boot.boot(options.arch, options.image, modules, options.work)


def absolute(path):
    return pathlib.Path(path).resolve()


def arch(name):
    return kernel.choice(kernel.ARCHES, name, "architecture")


COMMANDS = {
    "source": (fetch, "work", "version"),
    "front-end": (front_end, "work", "tree", "obj"),
    "reference": (reference, "obj", "out"),
    "boot": (start, "work", "arch", "image", "[root]"),
}
TYPES = {
    "work": directory, "out": directory, "obj": absolute, "root": absolute,
    "tree": kernel.Tree, "arch": arch,
}


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (function, *words) in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        for word in words:
            plain = word.strip("[]")
            command.add_argument(plain, metavar=plain.upper(), nargs=None if plain == word else "?",
                                 type=TYPES.get(plain, str))
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main(drive)
