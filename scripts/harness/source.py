"""A kernel's source, and copies of it that may be edited."""

import fcntl
import os
import re
import shutil

from harness.debian import Suite
from harness.run import Unable, output, remove, require, say

# The suites that have Debian's linux-source-VERSION; None: the machine's own.
SUITES = {"6.12": None, "7.2": "sid"}
THIN_DIST = "LTO_CLANG_THIN_DIST"


def knows(source, symbol):
    """Whether the kernel in SOURCE has this choice of LTO."""
    return f"config {symbol}\n" in (source / "arch/Kconfig").read_text()


def source(version, work):
    """Debian's source of VERSION in WORK, which is fetched if it is not there.

    Unstable drops a version when the next one arrives; then the newest there that
    knows LTO_CLANG_THIN_DIST takes its place, in a directory of its own name.
    """
    if version not in SUITES:
        raise Unable(f"unknown kernel version {version} ({', '.join(SUITES)})")
    # One run at a time: a second one waits, and finds the tree.
    with open(work / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = work / f"linux-source-{version}"
        if found.is_dir():
            return found
        return fetch(version, work)


def fetch(version, work):
    require("tar", "xz")
    home = work / ".fetching"
    remove(home)
    suite = Suite(home, SUITES[version])
    candidates = [version]
    if SUITES[version]:
        known = [match[1] for name in suite.names("linux-source-")
                 if (match := re.fullmatch(r"linux-source-(\d+\.\d+)", name))]
        if version not in known:
            candidates = sorted(known, key=lambda v: [*map(int, v.split("."))], reverse=True)
    for candidate in candidates:
        found = work / f"linux-source-{candidate}"
        if not found.is_dir():
            unpack(suite, found)
        if version == candidate or knows(found, THIN_DIST):
            if version != candidate:
                say(f"linux-source-{version} is gone from {suite.name}; taking {candidate}")
            remove(home)
            return found
        remove(found)
    raise Unable(f"{suite.name} has neither linux-source-{version} nor another with {THIN_DIST}")


def unpack(suite, place):
    """Only a whole source gets its PLACE, whose name is the package's."""
    say(f"fetching {place.name}")
    tarball = suite.unpack(place.name) / f"usr/src/{place.name}.tar.xz"
    output(["tar", "-xf", tarball, "-C", suite.home])
    os.rename(suite.home / place.name, place)


class Copy:
    """A copy whose files share their blocks with the original until they are edited."""

    def __init__(self, original, path):
        self.original, self.path = original, path
        self.journal = path.parent / "edited"
        self.edited = []
        if not (path / "Makefile").exists():
            whole = path.with_name(f"{path.name}.new")
            remove(path, self.journal, whole)
            output(["cp", "-al", original, whole])
            os.rename(whole, path)
        # What an earlier test left is undone with a new date, for make.
        if self.journal.exists():
            self.edited = list(dict.fromkeys(self.journal.read_text().splitlines()))
        self.revert(*self.edited)

    def read(self, name):
        return (self.path / name).read_text()

    def write(self, name, text):
        """Gives the file NAME a new content, in a file of its own."""
        with open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(f"{name}\n")
        if name not in self.edited:
            self.edited.append(name)
        temporary = self.path / f"{name}.new"
        temporary.write_text(text)
        if (self.path / name).exists():
            shutil.copymode(self.path / name, temporary)
        os.replace(temporary, self.path / name)

    def change(self, name, pattern, to):
        """Replaces the first match of PATTERN, which must be there."""
        text, count = re.subn(pattern, to, self.read(name), count=1, flags=re.M)
        if not count:
            raise Unable(f"{name}: nothing looks like {pattern!r}")
        self.write(name, text)

    def append(self, name, text):
        self.write(name, self.read(name) + text)

    def revert(self, *names):
        """The files as they are in the original, with a new date."""
        for name in names:
            before = self.original / name
            if before.exists():
                self.write(name, before.read_text())
            else:
                (self.path / name).unlink(missing_ok=True)
        self.edited = [name for name in self.edited if name not in names]
