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
    say(source(options.version, directory(options.work)))


def front_end(options):
    """configure TREE in OBJ and build up to the bitcode objects"""
    tree = kernel.Tree(options.tree)
    kernel.with_front_end(tree, options.work, pathlib.Path(options.obj).resolve())


def reference(options):
    """compile the back ends of the tree OBJ with clang into OUT, and link its vmlinux.o"""
    tree, out = pathlib.Path(options.obj).resolve(), directory(options.out)
    names = oracle.reference(tree, out)
    oracle.link(tree, out, out)
    say(f"{len(names)} objects")


def start(options):
    """boot IMAGE in QEMU; loads the modules below ROOT (INSTALL_MOD_PATH), if it is given"""
    arch = kernel.choice(kernel.ARCHES, options.arch, "architecture")
    modules = boot.installed_modules(pathlib.Path(options.root).resolve()) if options.root else []
    boot.boot(arch, options.image, modules, directory(options.work))


COMMANDS = {
    "source": (fetch, "work", "version"),
    "front-end": (front_end, "work", "tree", "obj"),
    "reference": (reference, "obj", "out"),
    "boot": (start, "work", "arch", "image", "[root]"),
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
            command.add_argument(plain, metavar=plain.upper(), nargs=None if plain == word else "?")
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main(drive)
