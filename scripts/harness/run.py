"""Running programs, and saying what came of it."""

import functools
import hashlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

JOBS = len(os.sched_getaffinity(0))
# The LLVM to test with, as scripts/llvm.sh chooses it.
LLVM = subprocess.run([pathlib.Path(__file__).parents[1] / "llvm.sh"], check=True,
                      stdout=subprocess.PIPE, text=True).stdout.strip()
LAST_LINES = 40


class Failure(Exception):
    """What is under test did something wrong."""

    status = 1


class Unable(Exception):
    """The test itself could not be done."""

    status = 2


# A line of progress, at once.
say = functools.partial(print, flush=True)


def llvm(tool):
    """The name of a TOOL of that LLVM."""
    return f"{tool}-{LLVM}"


def output(command, **options):
    """The standard output of COMMAND, which must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding="utf-8", errors="surrogateescape",
                          check=False, **options)
    if done.returncode:
        raise Unable(f"{shlex.join(map(str, command))}: status {done.returncode}\n"
                     f"{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def logged(command, log, what, error=Unable, **options):
    """Runs COMMAND with all its output in the file LOG; where it fails, ERROR says
    that WHAT failed, with the log's last lines."""
    with (open(log, "wb") as file,
          subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file,
                           stderr=subprocess.STDOUT, **options) as process):
        try:
            status = process.wait()
        except BaseException:
            # Not killed: make then ends what it has started.
            process.terminate()
            raise
    if status:
        raise error(f"{last_lines(log)}{what} failed; the whole log is {log}")


def last_lines(log):
    """The end of a log, for a message."""
    lines = log.read_text(errors="replace").replace("\r", "").splitlines()[-LAST_LINES:]
    return "".join(f"{line}\n" for line in lines)


def require(*tools):
    """Raises Unable for the first of TOOLS that is not there."""
    for tool in tools:
        if not shutil.which(tool):
            raise Unable(f"{tool} is not installed (scripts/setup.sh)")


def program(path):
    """The absolute path of a program. A link stays: what ld.lld does depends on the
    name by which it is called."""
    found = shutil.which(path)
    if not found:
        raise Unable(f"no program {path}")
    return pathlib.Path(os.path.abspath(found))


def directory(path):
    """The absolute path of a directory, which is made if it is not there."""
    made = pathlib.Path(path).resolve()
    made.mkdir(parents=True, exist_ok=True)
    return made


def remove(*paths):
    """Removes files and trees, those that are there."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sha(path):
    """SHA-256 of a file; of a word where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return hashlib.sha256(b"absent").hexdigest()


def main(drive):
    """Runs DRIVE and ends the program: status 0; 1 after a Failure; 2 where the test
    could not be done."""
    # As an exception, so that what is running is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        drive()
    except (Failure, Unable, OSError, subprocess.SubprocessError) as error:
        print(f"{pathlib.Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "status", Unable.status))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
