"""Modules outside of a kernel's tree, as their authors and users build them."""

import os
import pathlib
import re
import shutil
import tempfile

from harness.run import Failure, llvm, logged, output, remove, require, say

SOURCES = pathlib.Path(__file__).resolve().parents[2] / "tests/modules"
# In an order in which they can be loaded.
NAMES = ("backlto_one.ko", "backlto_pair.ko", "backlto_user.ko")
NOBODY = 65534


class External:
    """The modules of tests/modules, built by BUILD's linker and by REFERENCE's for the
    kernel in BUILD's tree, below HOME. HEADERS is what a package has of the kernel."""

    def __init__(self, build, reference, home, headers=None):
        self.build, self.home, self.headers = build, home, headers
        self.linker = next(word for word in build.variables if word.startswith("LD="))[3:]
        self.linkers = {"ours": build.variables, "theirs": reference.variables}
        remove(home)
        home.mkdir()

    def run(self):
        """Builds them in every way; the paths of the modules, to be loaded."""
        make = ["make", "-C", self.build.source, f"O={self.build.obj}"]
        modules = self.built("beside their sources", lambda place: [*make, f"M={place}"])
        # Since 6.13 modules can be built apart from their sources.
        if "KBUILD_EXTMOD_OUTPUT" in (self.build.source / "Makefile").read_text():
            self.built("apart", lambda place: [*make, f"M={place}", f"MO={place}/out"], "out")
        # What kbuild installs of ARCH=um lacks makefiles of arch/x86.
        if self.build.tree.arch.is_program():
            return modules
        # Where every user can go.
        with tempfile.TemporaryDirectory(prefix="backlto-") as public:
            self.installed(pathlib.Path(public))
        return modules

    def installed(self, public):
        """Against what distributions install of a kernel, as a user who may not write
        there."""
        public.chmod(0o755)
        tree, self.home = public / "kernel", public / "modules"
        if self.headers:
            shutil.copytree(self.headers, tree, symlinks=True)
        else:
            script = self.build.source / "scripts/package/install-extmod-build"
            self.build.make(public / "install.log", "run-command",
                            f"KBUILD_RUN_COMMAND={script} {tree}", error=Failure)
        self.home.mkdir()
        programs = public / "bin"
        programs.mkdir()
        for name in ("backlto", "ld.backlto"):
            shutil.copy(pathlib.Path(self.linker).with_name(name), programs)
        self.linkers["ours"] = [f"LD={programs / 'ld.backlto'}" if word.startswith("LD=") else word
                                for word in self.linkers["ours"]
                                if not word.startswith("BACKLTO_CACHE_DIR=")]
        user = []
        if not os.geteuid():
            require("setpriv")
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                    "env", f"HOME={self.home}"]
            output(["chmod", "-R", "a+rX", tree, programs])
            output(["chown", str(NOBODY), self.home])
        self.built("for an installed kernel", lambda place: [*user, "make", "-C", tree,
                                                             f"M={place}"])

    def built(self, how, command, below="."):
        """Has the make that COMMAND gives for a place build them there, by both linkers:
        the code is the same."""
        places = {}
        for whose, variables in self.linkers.items():
            place = places[whose] = self.home / how.replace(" ", "-") / whose
            shutil.copytree(SOURCES, place)
            if "setpriv" in command(place):
                output(["chown", "-R", str(NOBODY), place.parent])
            log = self.home / f"{place.parent.name}-{whose}.log"
            logged([*command(place), *variables, "modules"], log, f"modules {how}, {whose}",
                   Failure)
            warned(log)
        for name in NAMES:
            ours, theirs = (code(place / below / name) for place in places.values())
            if ours != theirs:
                raise Failure(f"{name} {how}: other code or relocations than ld.lld's")
        say(f"modules outside of the tree, {how}: code and relocations are ld.lld's")
        return [places["ours"] / below / name for name in NAMES]


def warned(log):
    """Nothing is said but what kbuild does."""
    said = [line for line in log.read_text(errors="replace").splitlines()
            if re.match(r"backlto|ld\.backlto|ld\.lld", line)]
    if said:
        raise Failure("\n".join([*said, f"while modules were built; the whole log is {log}"]))


def code(module):
    """The code of MODULE and all its relocations, without its path."""
    text = output([llvm("llvm-objdump"), "--disassemble", "--reloc", "--no-show-raw-insn", module])
    return text.split("\n", 2)[2]
