"""The Debian packages that kbuild makes of a kernel."""

import pathlib
import tempfile

from harness.check import equal, equal_files, require
from harness.run import Unable, llvm, output, remove

GOAL = "bindeb-pkg"


class Packages:
    """What `make bindeb-pkg` has left of BUILD, unpacked in `root`, which is below HOME."""

    def __init__(self, build, home):
        self.build, self.root = build, home / "root"
        remove(home)
        home.mkdir()
        # make leaves them beside the tree.
        for file in [*build.obj.parent.glob("*.deb"), *build.obj.parent.glob("linux-upstream_*")]:
            file.rename(home / file.name)
        # Where they were put together; make clean leaves it, as it leaves packages.
        remove(build.obj / "debian")
        self.names = {}
        for file in sorted(home.glob("*.deb")):
            output(["dpkg-deb", "-x", file, self.root])
            self.names[output(["dpkg-deb", "-f", file, "Package"]).strip()] = file
        releases = [path.name for path in self.root.glob("lib/modules/*")]
        if len(releases) != 1:
            raise Unable(f"the packages in {home} are not those of one kernel")
        self.release = releases[0]

    def headers(self):
        """What modules outside of the tree are built with."""
        link = self.root / "lib/modules" / self.release / "build"
        return self.root / link.readlink().relative_to("/")

    def compare(self, image, modules):
        """That the packages hold what the tree has: the IMAGE that boots, and the MODULES,
        both by their names in the tree."""
        obj, boot = self.build.obj, self.root / "boot"
        for kind in ("linux-image", "linux-headers"):
            require(f"{kind}-{self.release}" in self.names, f"there is no package {kind}")
        for name, file in (("vmlinuz", image), ("System.map", "System.map"), ("config", ".config")):
            equal_files(boot / f"{name}-{self.release}", obj / file)
        installed = self.root / "lib/modules" / self.release / "kernel"
        equal(sorted(str(path.relative_to(installed)) for path in installed.rglob("*.ko")),
              modules, "the package has other modules than the tree")
        with tempfile.TemporaryDirectory() as place:
            stripped = pathlib.Path(place) / "stripped.ko"
            for module in modules:
                # As kbuild does for the package.
                output([llvm("llvm-strip"), "--strip-debug", "-o", stripped, obj / module])
                equal_files(installed / module, stripped)
