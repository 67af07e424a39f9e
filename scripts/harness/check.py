"""What a test asserts."""

import collections

from harness.run import Failure


def require(condition, message):
    if not condition:
        raise Failure(message)


def equal(ours, theirs, message):
    """That OURS and THEIRS, of any kind, are equal; where they are collections of lines,
    the first few that only one has are told."""
    if ours == theirs:
        return
    ours, theirs = collections.Counter(ours), collections.Counter(theirs)
    lines = [f"- {line}" for line in theirs - ours] + [f"+ {line}" for line in ours - theirs]
    raise Failure("\n".join([*lines[:20], message]))


def equal_files(ours, theirs):
    require(ours.is_file() and ours.read_bytes() == theirs.read_bytes(),
            f"{ours} is not {theirs}")
