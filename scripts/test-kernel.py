#!/usr/bin/env python3
"""Whole Linux kernels, built by backlto and compared with what clang and ld.lld make.

  kbuild   `backlto kbuild` does stages 2 to 4 in trees whose front end is done. Proved, for
           the first tree by itself and then for all of them in one run:
             - every bitcode object is compiled, and equals the one that clang writes with
               the recorded flags; so does all that clang says of it;
             - vmlinux.o equals the one that is linked from clang's objects;
             - with an index (7.2), make then does nothing of stages 2 and 3, and the
               kernel boots in QEMU, if it has a console;
             - of several trees, one that fails leaves the others alone.
  dropin   make builds a kernel with LD=ld.backlto as anybody would. Proved:
             - vmlinux, the modules and the boot image come out, and make has nothing to do
               afterwards;
             - each module carries the versions of its symbols as Module.symvers has them;
             - modules outside of the tree have the code that they have with ld.lld, built
               beside their sources, apart from them, and for an installed kernel by a user
               who may not write there;
             - the kernel boots in QEMU and loads its modules and those from outside, which
               can be unloaded again;
             - changes to a source, a header, a module and a flag arrive, without many
               other compiles; without them the old bytes are back;
             - make clean leaves nothing of it;
             - with --reference: Module.symvers, the versions in the modules and what make
               clean leaves are those of ld.lld; with an index, so are all native objects,
               the archive and vmlinux.o. ld.lld as LINKER has to pass, too.

  matrix   a row for each combination of options that people build kernels with: `make` with
           LD=ld.backlto; the kernel boots and loads its modules; make has nothing to do
           afterwards; all objects are clang's, the modules' code is ld.lld's. Goes on where
           the last run ended, and ends with a table. In one row make bindeb-pkg does the first
           build; its packages have the image, the modules and what modules outside of the tree
           are built with.

A tree is VERSION/KIND or VERSION/KIND/ARCH (see harness/kernel.py). `kbuild` builds the front
ends, except of trees that `dropin --lend` has left to it.

Exit status: 0 if all is well, 1 if something is not as it should be, 2 if the test could
not be done.
"""

import argparse

from harness import kernel, matrix
from harness.dropin import Dropin
from harness.run import directory, main, program
from harness.stages import Kbuild


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    tests = parser.add_subparsers(dest="test", required=True, metavar="kbuild|dropin|matrix")
    kbuild = tests.add_parser("kbuild", help="backlto kbuild in one tree or several")
    kbuild.add_argument("program", metavar="BACKLTO", type=program)
    dropin = tests.add_parser("dropin", help="make with LD=ld.backlto, one tree after the other")
    dropin.add_argument("--reference", action="store_true", help="compare with ld.lld's build")
    dropin.add_argument("--lend", action="store_true", help="leave the trees to a later kbuild")
    dropin.add_argument("--keep", action="store_true", help="no make clean in the end")
    dropin.add_argument("program", metavar="LINKER", type=program)
    rows = tests.add_parser("matrix", help="the rows of the matrix, or those that are named")
    rows.add_argument("program", metavar="LINKER", type=program)
    for test in (kbuild, dropin, rows):
        test.add_argument("work", metavar="WORK", type=directory, help="for sources and trees")
        test.add_argument("trees", metavar="TREE", type=kernel.Tree,
                          nargs="*" if test is rows else "+")
    options = parser.parse_args()
    match options.test:
        case "kbuild":
            Kbuild(options.program, options.work, options.trees).run()
        case "dropin":
            for tree in options.trees:
                Dropin(options.program, options.work, tree).run(
                    options.reference, options.lend, options.keep)
        case "matrix":
            matrix.run(options.program, options.work, options.trees or matrix.ROWS)


if __name__ == "__main__":
    main(drive)
