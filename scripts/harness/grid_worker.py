"""A machine of BuildGrid, for tests: it takes actions over the Remote Workers API and runs each
in a directory of its own. Run by the Python that BuildGrid is installed for.

    grid_worker.py HOST:PORT NAME
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import grpc
from buildgrid._protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2 as api, remote_execution_pb2_grpc as services)
from buildgrid._protos.google.bytestream import bytestream_pb2, bytestream_pb2_grpc
from buildgrid._protos.google.devtools.remoteworkers.v1test2 import (
    bots_pb2, bots_pb2_grpc, worker_pb2)

# What is longer goes by streams, in pieces of so many bytes.
PIECE = 1 << 20
# The states of leases and bots, as the API numbers them.
ACTIVE, COMPLETED, OK = 2, 4, 1


class Blobs:
    """The blobs of the engine, each read once."""

    def __init__(self, channel, folder):
        self.batches = services.ContentAddressableStorageStub(channel)
        self.streams = bytestream_pb2_grpc.ByteStreamStub(channel)
        self.folder = folder

    def path(self, digest):
        path = self.folder / digest.hash
        if not path.exists():
            request = bytestream_pb2.ReadRequest(
                resource_name=f"blobs/{digest.hash}/{digest.size_bytes}")
            with open(self.folder / "new", "wb") as file:
                for answer in self.streams.Read(request):
                    file.write(answer.data)
            os.replace(self.folder / "new", path)
        return path

    def message(self, kind, digest):
        message = kind()
        if digest.size_bytes:
            message.ParseFromString(self.path(digest).read_bytes())
        return message

    def upload(self, content):
        digest = api.Digest(hash=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        if len(content) < PIECE:
            request = api.BatchUpdateBlobsRequest()
            request.requests.add(digest=digest, data=content)
            self.batches.BatchUpdateBlobs(request)
        else:
            self.streams.Write(pieces(digest, content))
        return digest


def pieces(digest, content):
    name = f"uploads/{digest.hash}/blobs/{digest.hash}/{digest.size_bytes}"
    for start in range(0, len(content), PIECE):
        piece = content[start:start + PIECE]
        yield bytestream_pb2.WriteRequest(
            resource_name=name, write_offset=start, data=piece,
            finish_write=start + len(piece) == len(content))


def put(blobs, digest, place):
    """Makes the directory PLACE what DIGEST says."""
    place.mkdir(exist_ok=True)
    directory = blobs.message(api.Directory, digest)
    for file in directory.files:
        if file.digest.size_bytes:
            os.link(blobs.path(file.digest), place / file.name)
        else:
            (place / file.name).touch()
        if file.is_executable:
            (place / file.name).chmod(0o755)
    for entry in directory.directories:
        put(blobs, entry.digest, place / entry.name)


def run(blobs, action, folder):
    """Runs ACTION in a directory in FOLDER; its result."""
    command = blobs.message(api.Command, action.command_digest)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = pathlib.Path(name)
        put(blobs, action.input_root_digest, place)
        result = api.ActionResult()
        try:
            done = subprocess.run(command.arguments, cwd=place, env={}, capture_output=True,
                                  stdin=subprocess.DEVNULL, check=False)
            result.exit_code, result.stderr_raw = done.returncode, done.stderr
        except OSError as e:
            result.exit_code, result.stderr_raw = 127, str(e).encode()
        for path in command.output_paths:
            if (place / path).is_file():
                digest = blobs.upload((place / path).read_bytes())
                result.output_files.add(path=path, digest=digest)
    return result


class Bot:
    """A session with the engine."""

    def __init__(self, channel, name):
        self.calls = bots_pb2_grpc.BotsStub(channel)
        worker = worker_pb2.Worker(devices=[worker_pb2.Device(handle=name)])
        session = bots_pb2.BotSession(bot_id=name, status=OK, worker=worker)
        self.session = self.retried(lambda: self.calls.CreateBotSession(
            bots_pb2.CreateBotSessionRequest(bot_session=session)))

    @staticmethod
    def retried(call):
        """The answer of CALL, which waits for work. It is asked again when none has come."""
        while True:
            try:
                return call()
            except grpc.RpcError as e:
                if e.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                time.sleep(0.1)

    def update(self):
        request = bots_pb2.UpdateBotSessionRequest(
            name=self.session.name, bot_session=self.session)
        self.session = self.retried(lambda: self.calls.UpdateBotSession(request))

    def serve(self, blobs, folder):
        while True:
            for lease in self.session.leases:
                if lease.state != COMPLETED:
                    action = api.Action()
                    if not lease.payload.Unpack(action):
                        digest = api.Digest()
                        lease.payload.Unpack(digest)
                        action = blobs.message(api.Action, digest)
                    lease.result.Pack(run(blobs, action, folder))
                    lease.state = COMPLETED
            self.update()


def main():
    address, name = sys.argv[1:]
    with grpc.insecure_channel(address) as channel, tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "blobs").mkdir()
        Bot(channel, name).serve(Blobs(channel, folder / "blobs"), folder)


if __name__ == "__main__":
    main()
