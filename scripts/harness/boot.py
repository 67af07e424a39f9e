"""Kernels in QEMU, with an initramfs that holds tests/init and the kernel's modules."""

import gzip
import lzma
import os
import pathlib
import re
import subprocess
import tempfile
import time

from harness.debian import Suite
from harness.run import Failure, Unable, last_lines, llvm, output, remove, require, say

INIT = pathlib.Path(__file__).resolve().parents[2] / "tests/init/init.c"
RUNNING = "backlto: init is running"
LIVE_PATCH = "livepatch: enabling patch 'livepatch_sample'"
LIMIT = 180  # seconds
# What a module asks for while it is loaded: nobody is there then to load it.
ASKED_FOR = "softdep jitterentropy_rng pre: sha3_generic\n"
# What a module says where its device, or the processor's part that it drives, is not there:
# ENODEV, EOPNOTSUPP.
NO_DEVICE = (19, 95)
DIRECTORY, PROGRAM, DEVICE = 0o040755, 0o100755, 0o020600
DECOMPRESS = {".gz": gzip.decompress, ".xz": lzma.decompress}


def boot(arch, image, modules, work, limit=LIMIT, drivers=False):
    """Boots IMAGE; MODULES are loaded in this order. Raises Failure with the end of the
    console unless init's line appears there within LIMIT seconds and all modules could be
    loaded; with DRIVERS, some may find no device. How many were loaded."""
    require(llvm("clang"), llvm("ld.lld"))
    emulator = os.path.abspath(image) if arch.is_program() else find_emulator(arch, work)
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        (home / "initramfs").write_bytes(initramfs(build_init(arch, home), modules))
        console = home / "console"
        end = watch(start(arch, emulator, image, home), console, limit)
        said = console.read_text(errors="replace")
        try:
            if RUNNING not in said:
                raise Failure(end)
            return loaded(said, modules, drivers)
        except Failure as error:
            raise Failure(f"{last_lines(console)}{image}: {error}") from error


def loaded(said, modules, drivers):
    """How many of the MODULES the kernel loaded that SAID this; with DRIVERS, some may have
    found no device."""
    refused = re.findall(r"backlto: cannot ((?:un)?load \S+: error (\d+))", said)
    failed = [what for what, error in refused
              if not (drivers and what.startswith("load ") and int(error) in NO_DEVICE)]
    number = len(modules) - len(refused)
    if modules and (failed or f"backlto: {number} modules loaded" not in said):
        raise Failure(f"not all of the {len(modules)} modules could be loaded and unloaded; "
                      f"refused: {', '.join(failed)}")
    if "livepatch-sample" in map(stem, modules) and LIVE_PATCH not in said:
        raise Failure("the live patch was not enabled")
    return number


def start(arch, emulator, image, home):
    """The kernel, in QEMU or as the program that it is, with its console in a file."""
    if arch.is_program():
        command = [emulator, f"mem={arch.memory}M", f"initrd={home / 'initramfs'}",
                   f"uml_dir={home}/", "con=null", "con0=null,fd:1", "panic=-1"]
    else:
        # No network card: its boot ROM is a package of its own, and nothing uses it.
        command = [emulator, *arch.machine, "-no-reboot", "-nographic", "-nic", "none",
                   "-m", str(arch.memory), "-kernel", image, "-initrd", home / "initramfs",
                   "-append", f"console={arch.console} earlycon panic=-1"]
    with open(home / "console", "wb") as console:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console,
                                stderr=subprocess.STDOUT)


def watch(qemu, console, limit):
    """Waits for init's line, but LIMIT seconds at most, and ends QEMU; says why it did not
    wait longer.

    A kernel that cannot power the machine off only halts it, so QEMU's end is not what
    to wait for.
    """
    try:
        last = time.monotonic() + limit
        while time.monotonic() < last:
            # Looking after asking whether QEMU runs: its last words count.
            ended = qemu.poll() is not None
            said = console.read_text(errors="replace")
            if RUNNING in said:
                return "init ran"
            # Without a way to reset the machine, a kernel stays there.
            if "Kernel panic" in said:
                return "the kernel panicked"
            if ended:
                return "QEMU ended before init ran"
            time.sleep(0.2)
        return f"init did not run within {limit} s"
    finally:
        # It has nothing to lose, and a wedged one must not outlive us.
        qemu.kill()
        qemu.wait()


def build_init(arch, home):
    """The one program of the initramfs."""
    target = home / "init"
    output([llvm("clang"), f"--target={arch.target}-linux-gnu", *arch.flags, "-std=gnu11", "-Os",
            "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector", "-fno-pic",
            "-fno-asynchronous-unwind-tables", "-c", "-o", home / "init.o", INIT])
    output([llvm("ld.lld"), "-static", "-o", target, home / "init.o"])
    return target.read_bytes()


def initramfs(init, modules):
    """A newc archive. It is written here rather than with cpio, since a device node in a
    directory takes root privileges and one in an archive does not."""
    # Flat: the kernel knows no two modules of one name.
    names = [f"lib/{stem(module)}.ko" for module in modules]
    entries = [("dev", DIRECTORY, b"", (0, 0)), ("dev/console", DEVICE, b"", (5, 1)),
               ("init", PROGRAM, init, (0, 0)), ("lib", DIRECTORY, b"", (0, 0))]
    entries += [(name, PROGRAM, content(module), (0, 0))
                for name, module in zip(names, modules)]
    if names:
        text = "".join(f"/{name}\n" for name in names)
        entries.append(("modules", PROGRAM, text.encode(), (0, 0)))
    entries.append(("TRAILER!!!", 0, b"", (0, 0)))
    archive = bytearray()
    for inode, (name, mode, data, device) in enumerate(entries, 1):
        name = name.encode() + b"\0"
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
        # namesize check
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        for part in (b"070701" + b"".join(b"%08x" % field for field in fields) + name, data):
            archive += part
            archive += b"\0" * (-len(archive) % 4)
    return bytes(archive)


def installed_modules(root):
    """The modules below ROOT, where make modules_install put them (INSTALL_MOD_PATH): each
    after those it needs and those it asks for in a softdep."""
    require("modprobe")
    releases = list((root / "lib/modules").iterdir())
    if len(releases) != 1 or not (releases[0] / "modules.dep").exists():
        raise Unable(f"{root} does not hold the modules of one kernel")
    names = sorted(stem(module) for module in (releases[0] / "kernel").rglob("*.ko*"))
    # No other configuration: this machine's may forbid modules or run programs instead.
    configuration = root / "modprobe.conf"
    configuration.write_text(ASKED_FOR)
    # --show-depends loads nothing; it prints "insmod PATH OPTIONS" for each module, dependencies
    # first, and what several need several times. Options are those that this machine's own
    # kernel was started with.
    text = output(["modprobe", "--config", configuration, "--dirname", root, "--set-version",
                   releases[0].name, "--show-depends", "--all", *names])
    paths = re.findall(r"^insmod (.*?\.ko(?:\.\w+)?)(?: .*)?$", text, re.M)
    return [pathlib.Path(path) for path in dict.fromkeys(paths)]


def stem(module):
    """The name of a module from that of its file, which may be compressed."""
    return module.name.partition(".")[0]


def content(module):
    """A module as the kernel takes it; kmod would decompress it."""
    return DECOMPRESS.get(module.suffix, bytes)(module.read_bytes())


def find_emulator(arch, work):
    """QEMU for ARCH, on PATH or, for LoongArch, unpacked in WORK.

    Since 9.1, QEMU hands a LoongArch kernel the system table that firmware would; under
    an older one it stays mute. Debian 12's suite for such things has one that runs on its
    libraries.
    """
    emulator = f"qemu-system-{arch.target}"
    if arch.target != "loongarch64" or version(emulator) >= (9, 1):
        require(emulator)
        return emulator
    home = work / "qemu"
    unpacked = home / "root/usr/bin" / emulator
    if version(unpacked) < (9, 1):
        say("fetching a younger QEMU")
        remove(home)
        Suite(home, "bookworm-backports").unpack("qemu-system-misc")
        if version(unpacked) < (9, 1):
            raise Unable("QEMU of bookworm-backports does not run here")
    return unpacked


def version(emulator):
    """Of a QEMU, as numbers; () where it does not run."""
    try:
        text = output([emulator, "--version"])
    except (OSError, Unable):
        return ()
    found = re.match(r"QEMU emulator version (\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()
