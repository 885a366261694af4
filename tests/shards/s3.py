"""A real S3 server on this machine, and what stands before it to answer badly: errors, dropped and cut answers, silence, absence."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import closing, contextmanager, suppress

KEYS = {"AWS_ACCESS_KEY_ID": "datakit", "AWS_SECRET_ACCESS_KEY": "no secret at all", "AWS_REGION": "us-east-1"}
_PORTS = ("admin.port", "filer.port", "master.port", "s3.port", "s3.port.iceberg", "s3.port.lance", "volume.port", "webdav.port")


# SeaweedFS puts gRPC 10,000 above each port; these lie below what systems give to clients.
_LOWEST, _HIGHEST = 10_100, 22_000


@contextmanager
def server(folder):
    """Run SeaweedFS, bound to this machine and without its telemetry; give the address of its S3."""
    folder.mkdir()
    keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    rights = [{"name": "tests", "credentials": [keys], "actions": ["Admin"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": rights}))
    process, address = _started(folder)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def _started(folder):
    """Start the server; one that finds a port taken meanwhile is started anew with others."""
    for _ in range(5):
        first = random.randrange(_LOWEST, _HIGHEST)
        ports = {name: first + number for number, name in enumerate(_PORTS)}
        words = ["-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]
        words += [f"-dir={folder}", f"-s3.config={folder / 's3.json'}", *(f"-{name}={port}" for name, port in ports.items())]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([shutil.which("weed") or "weed", "mini", *words], stdout=log, stderr=log, cwd=folder)
        address = f"http://127.0.0.1:{ports['s3.port']}"
        if _answers(address, process):
            return process, address
    raise AssertionError((folder / "log").read_text("utf-8", "replace")[-2000:])


def _answers(address, process):
    while process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/healthz", timeout=2).close()
            return True
        time.sleep(0.2)
    return False


# What becomes of one connection after the other.
_FAULTS = ("error", "cut", "dropped", "cut", "stalled", "cut")


class Faulty:
    """Passes connections on to a server, but not all of them, and not whole; ``away`` seconds of absence begin with ``leave``."""

    def __init__(self, address):
        self._target = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.faults = dict.fromkeys(("error", "dropped", "cut", "stalled", "away"), 0)
        self._until = 0.0
        self._numbers = itertools.count()
        threading.Thread(target=self._serve, daemon=True).start()

    def leave(self, seconds):
        """Refuse every connection for so long."""
        self._until = time.monotonic() + seconds

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(connection,), daemon=True).start()

    def _pass(self, connection):
        with connection:
            if time.monotonic() < self._until:
                self.faults["away"] += 1
                return
            number = next(self._numbers)
            fault = _FAULTS[number % len(_FAULTS)]
            if fault != "cut":
                self.faults[fault] += 1
            if fault == "error":
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif fault != "dropped":
                time.sleep(2 if fault == "stalled" else 0)
                # Every connection ends some time, as clients keep them: most of those in the midst of an answer.
                self._through(connection, 12_000 * (1 + number % 7))

    def _through(self, connection, most):
        with closing(socket.create_connection(self._target)) as server:
            threading.Thread(target=self._pump, args=(connection, server), daemon=True).start()
            passed = 0
            with suppress(OSError):
                while time.monotonic() >= self._until and (data := server.recv(1 << 15)):
                    if passed + len(data) > most:
                        self.faults["cut"] += 1
                        connection.sendall(data[: most - passed])
                        break
                    connection.sendall(data)
                    passed += len(data)
            for each in (connection, server):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump(source, target):
        with suppress(OSError):
            while data := source.recv(1 << 15):
                target.sendall(data)

    def close(self):
        """Stop listening."""
        self._listening.close()


def environment(address):
    """What a process needs to reach the server: as any tool of AWS reads it."""
    return os.environ | KEYS | {"AWS_ENDPOINT_URL": address}
