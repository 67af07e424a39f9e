"""BuildGrid with PostgreSQL, an engine of the Remote Execution API in several processes."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from harness.engine import free_port, wait_for
from harness.run import Unable, output, say

PACKAGE = "buildgrid[database]==0.4.4"
# Where Debian keeps the programs of PostgreSQL.
POSTGRES = "/usr/lib/postgresql"
WORKER = pathlib.Path(__file__).with_name("grid_worker.py")

CONFIGURATION = """
server:
  - !channel
    address: 127.0.0.1:{port}
    insecure-mode: true
connections:
  - !sql-connection &sql
    connection-string: {database}
    pool-size: 20
storages:
  - !disk-storage &blobs
    path: {folder}/blobs
caches:
  - !lru-action-cache &results
    storage: *blobs
    max-cached-refs: 100000
    allow-updates: true
    cache-failed-actions: false
schedulers:
  - !sql-scheduler &queue
    sql: *sql
    storage: *blobs
    action-cache: *results
    property-set: !dynamic-property-set
      match-property-keys: []
      wildcard-property-keys: []
    bot-session-keepalive-timeout: 60
    assigners:
      - !priority-age-assigner
        count: 1
        interval: 0.05
instances:
  - name: ''
    services:
      - !action-cache
        cache: *results
      - !execution
        scheduler: *queue
      - !cas
        storage: *blobs
      - !bytestream
        storage: *blobs
thread-pool-size: 60
"""


class BuildGrid:
    """An empty BuildGrid with so many machines. WORK is where its programs stay."""

    def __init__(self, work, machines):
        self.python = installed(work / "buildgrid")
        self.machines, self.port, self.database = machines, free_port(), None
        self.processes = []

    @property
    def url(self):
        return f"grpc://127.0.0.1:{self.port}"

    def program(self):
        return self.python.with_name("bgd")

    def start(self, *command):
        with open(self.folder / "log", "ab") as log:
            self.processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True))

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="buildgrid-"))
        try:
            self.database = Database(self.folder / "database")
            output([self.program(), "migrate", "apply", self.database.url])
            configuration = self.folder / "buildgrid.yml"
            configuration.write_text(CONFIGURATION.format(
                port=self.port, database=self.database.url, folder=self.folder))
            self.start(self.program(), "server", "start", configuration)
            wait_for(self.port, "BuildGrid")
            for number in range(self.machines):
                self.start(self.python, WORKER, f"127.0.0.1:{self.port}", f"machine-{number}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self.database:
            self.database.stop()
        shutil.rmtree(self.folder)


class Database:
    """A PostgreSQL with its data in FOLDER, which is made for it."""

    def __init__(self, folder):
        programs = sorted(pathlib.Path(POSTGRES).glob("*/bin"))
        if not programs:
            raise Unable("BuildGrid needs PostgreSQL (package postgresql)")
        self.programs, self.folder, self.port = programs[-1], folder, free_port()
        # PostgreSQL does not run as root.
        self.who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        folder.mkdir()
        if self.who:
            folder.parent.chmod(0o755)
            shutil.chown(folder, "postgres")
        self.run("initdb", "--username=test", "--auth=trust", "--no-sync")
        options = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c fsync=off " \
                  f"-c unix_socket_directories={folder} -c max_connections=200"
        self.run("pg_ctl", "--wait", f"--log={folder}/log", f"--options={options}", "start")

    @property
    def url(self):
        return f"postgresql+psycopg2://test@127.0.0.1:{self.port}/postgres"

    def run(self, name, *args):
        subprocess.run([*self.who, self.programs / name, f"--pgdata={self.folder}", *args],
                       cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)

    def stop(self):
        self.run("pg_ctl", "--mode=immediate", "stop")


def installed(folder):
    """The Python for which BuildGrid is installed in FOLDER, from the package index if need be."""
    python = folder.absolute() / "bin" / "python3"
    if not python.with_name("bgd").exists():
        say(f"{PACKAGE} is installed")
        output([sys.executable, "-m", "venv", folder])
        output([python, "-m", "pip", "install", "--quiet", PACKAGE])
    return python
