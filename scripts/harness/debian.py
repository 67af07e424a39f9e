"""Packages of Debian's suites, downloaded and unpacked below a directory of ours.

A suite that the machine is not set up for is read with an apt configuration of
its own, so that the machine's package state is neither used nor touched. Needs no
root privileges.
"""

import os
import pwd
import re

from harness.run import Unable, logged, output, remove, require, say

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Suite:
    """A suite of Debian, by name; the one that this machine is set up for without. Of its
    packages, or of their SOURCES."""

    def __init__(self, home, name=None, sources=False):
        require("apt-get", "apt-cache", "dpkg-deb")
        self.home, self.name = home, name
        home.mkdir(parents=True, exist_ok=True)
        # apt's sandbox user cannot write below HOME; being explicit about who
        # downloads spares root the warning about it.
        self.options = ["-qq", f"-oAPT::Sandbox::User={pwd.getpwuid(os.geteuid()).pw_name}"]
        if name:
            self.options += self.private_options("deb-src" if sources else "deb")
            # Without Error-Mode, apt answers a failed download with a warning and
            # status 0, and goes on with stale lists or none.
            self.apt_get(f"update of {name}", "-oAPT::Update::Error-Mode=any", "update")

    def private_options(self, kind):
        """What makes apt read this suite and no other. On the command line it wins over
        the machine's configuration, of which proxies and the like stay in force."""
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "state/status").touch()
        sources = self.home / "sources.list"
        sources.write_text(f"{kind} [signed-by={KEYRING}] {archive()} {self.name} main\n")
        options = [
            f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=/dev/null",
            "Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null",
            f"Dir::State={self.home}/state", f"Dir::State::lists={self.home}/lists",
            f"Dir::State::status={self.home}/state/status", f"Dir::Cache={self.home}/cache",
            "APT::Default-Release=", "Acquire::Languages=none",
        ]
        # Indexes for software centres and file searches: tens of megabytes that
        # nobody here reads.
        options += [f"Acquire::IndexTargets::deb::{index}::DefaultEnabled=false" for index in (
            "DEP-11", "DEP-11-icons-small", "DEP-11-icons", "DEP-11-icons-hidpi", "Contents-deb")]
        return [f"-o{option}" for option in options]

    def apt_get(self, what, *words):
        logged(["apt-get", *self.options, *words], self.home / "apt.log", f"apt-get {what}",
               cwd=self.home)

    def names(self, start):
        """The packages whose names begin with START."""
        return output(["apt-cache", *self.options, "pkgnames", start]).split()

    def unpack(self, package):
        """Where the files of PACKAGE are now."""
        root = self.home / "root"
        remove(root, *self.home.glob("*.deb"))
        self.apt_get(f"download {package} (are the lists there? apt-get update)",
                     "download", package)
        for file in self.home.glob("*.deb"):
            output(["dpkg-deb", "-x", file, root])
            file.unlink()
        return root

    def source(self, package, version):
        """The two tarballs of the source PACKAGE of the upstream VERSION: what was released, and
        Debian's part; the first that can be had, as archives drop files before indexes do."""
        entries = output(["apt-cache", *self.options, "showsrc", package]).split("\n\n")
        released = re.compile(rf"^Version: (\d+:)?{re.escape(version)}-", re.M)
        found = [entry for entry in entries if released.search(entry)]
        root = archive()
        for entry in found:
            place = re.search(r"^Directory: (.*)", entry, re.M)[1]
            try:
                return tuple(self.download(f"{root}{place}/{name}", digest)
                             for end in ("orig", "debian")
                             for digest, name in re.findall(
                                 rf"^ ([0-9a-f]{{64}}) \d+ (\S+\.{end}\.tar\.xz)$", entry, re.M))
            except Unable as error:
                say(f"{package}: {str(error).splitlines()[0]}")
        raise Unable(f"{self.name} has no source of {package} {version} "
                     f"({len(found)} of its versions were tried)")

    def download(self, address, digest):
        """The file at ADDRESS, whose SHA-256 is DIGEST."""
        file = self.home / address.rpartition("/")[2]
        output(["/usr/lib/apt/apt-helper", *self.options, "download-file", address, file,
                f"SHA256:{digest}"])
        return file


def archive():
    """The address from which this machine itself gets Debian. apt reads both formats of
    its source lists for us; the label tells the archive from the security one, which
    carries no other suites, and from other vendors'."""
    lines = output(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)",
                    "Created-By: Packages"])
    found = re.search(r"^Debian\|(.*)", lines, re.M)
    if not found:
        raise Unable("no Debian archive among this machine's apt sources, or its lists were "
                     "never fetched (apt-get update)")
    return found[1]
