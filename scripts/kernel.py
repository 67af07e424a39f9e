#!/usr/bin/env python3
"""Kernel sources and trees, one step at a time.

  source WORK VERSION          fetches Debian's source into WORK and prints where it is
  front-end WORK TREE OBJ      configures TREE in OBJ and builds up to the bitcode objects
  reference OBJ OUT            compiles the back ends of the tree OBJ with clang into OUT, and
                               links their vmlinux.o
  boot WORK ARCH IMAGE [ROOT]  boots IMAGE in QEMU; loads the modules below ROOT, where make
                               modules_install put them (INSTALL_MOD_PATH), if it is given

A TREE is VERSION/KIND or VERSION/KIND/ARCH, as in 6.12/small/arm64 (see harness/kernel.py);
WORK is the directory of the tests.
"""

import argparse
import pathlib

from harness import boot, kernel, oracle
from harness.run import directory, main, say
from harness.source import source


def drive():
    parser = argparse.ArgumentParser(description=__doc__, usage="kernel.py COMMAND WORD...",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", help=argparse.SUPPRESS)
    match parser.parse_args().words:
        case ["source", work, version]:
            say(source(version, directory(work)))
        case ["front-end", work, tree, obj]:
            kernel.with_front_end(kernel.Tree(tree), directory(work), pathlib.Path(obj).resolve())
        case ["reference", obj, out]:
            obj, out = pathlib.Path(obj).resolve(), directory(out)
            say(f"{len(oracle.reference(obj, out))} objects, {oracle.link(obj, out, out)}")
        case ["boot", work, arch, image, *roots] if len(roots) < 2:
            modules = [module for root in roots
                       for module in boot.installed_modules(pathlib.Path(root).resolve())]
            boot.boot(kernel.choice(kernel.ARCHES, arch, "architecture"), image, modules,
                      directory(work))
        case _:
            parser.error("no such command, or not its words (--help lists them)")


if __name__ == "__main__":
    main(drive)
