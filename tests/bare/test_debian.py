"""A stranger's machine: a minimal Debian, the README's packages and commands, and each message about what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [
    pytest.mark.bare,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mmdebstrap") is None, reason="needs root, and apt install mmdebstrap"),
]

README = (ROOT / "README.md").read_text("utf-8")
# How this machine reaches the package index, a proxy of one's own with its certificate for one, is handed on.
CERTIFICATES, COPIED = "/etc/ssl/certs/ca-certificates.crt", "/etc/host-certificates.crt"
HANDED_ON = {name: value for name, value in os.environ.items() if name.startswith("PIP_INDEX") or name.endswith("_proxy")}
HANDED_ON |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), COPIED)


def block(mark: str) -> str:
    """The commands of a block of the README."""
    return re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", README, re.DOTALL)[1]


class Machine:
    """A root of Debian with a copy of the checkout in /datakit, where commands are run as a stranger types them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script in the checkout; /proc, /dev and /sys are there for its time only."""
        inside = f"cd /datakit && {script}"
        mounts = (
            f"mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev && mount --rbind /sys {self.root}/sys"
        )
        command = f'{mounts} && exec chroot {self.root} /bin/bash -euo pipefail -c "$0"'
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "bash", "-euc", command, inside],
            env=plain | HANDED_ON | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def do(self, script: str, **environment: str) -> str:
        """Run a script that must work and return what it says."""
        done = self.run(script, **environment)
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """A minimal Debian 13 that nothing was installed in; copied for each machine."""
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "trixie", root], check=True)
    for name, copied in (("/etc/resolv.conf", None), ("/etc/hosts", None), (CERTIFICATES, COPIED)):
        shutil.copy(name, f"{root}{copied or name}")
    return root


@pytest.fixture
def machine(debian, tmp_path):
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", debian, root], check=True)
    checkout = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    (root / "datakit").mkdir()
    packed = subprocess.run(["tar", "--null", "--files-from=-", "-c"], cwd=ROOT, input=checkout, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=root / "datakit", input=packed.stdout, check=True)
    yield Machine(root)
    shutil.rmtree(root)


def test_what_is_missing_is_named_and_what_the_readme_says_is_enough(machine):
    machine.do("apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv")
    machine.do("python3 -m venv /venv && /venv/bin/pip install -q .")

    def datakit(words, status=0):
        done = machine.run(f"/venv/bin/datakit {words}")
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    missing = datakit("crop fixtures/pictures out/", 2).stderr
    remedy = re.search(r"apt install (.+)", missing)[1]
    assert f"apt install {remedy}" in README
    assert missing.count("\n") == 1
    machine.do(f"apt-get install -y -qq --no-install-recommends {remedy}")

    assert "7 done, 8 refused" in datakit("crop fixtures/pictures out/", 1).stdout
    assert "8 done, 7 up to date" in datakit("crop fixtures/pictures out/ --upscale 3").stdout
    assert "75 done" in datakit("shuffle --repeats 5 --keep 2 --augment flip").stdout
    assert "proved" in datakit("backend --cache-root cache/").stdout
    assert "proved" in datakit("verify").stdout
    datakit("config --epochs 10 --batch-size 2")
    datakit("check out_shuffled", 1)
    datakit("sheet out/ sheet.jpg")
    datakit("review out/ --static report.html")

    assert "pip install 'datakit[mediapipe]'" in datakit("crop fixtures/pictures out2/ --detector mediapipe", 2).stderr
    machine.do("/venv/bin/pip install -q '.[mediapipe]'")
    missing = datakit("crop fixtures/pictures out2/ --detector mediapipe", 2).stderr
    remedy = re.search(r"apt install (.+)", missing)[1]
    assert f"`{remedy}`" in README
    assert missing.count("\n") == 1
    machine.do(f"apt-get install -y -qq --no-install-recommends {remedy}")
    assert "7 done, 8 refused" in datakit("crop fixtures/pictures out2/ --detector mediapipe", 1).stdout


@pytest.mark.parametrize("versions", ["newest", "lowest"])
def test_the_readmes_own_commands_pass(machine, versions):
    machine.do(block("system"))
    environment = {}
    if versions == "lowest":
        machine.do("bash .ci/lowest /lowest.txt")
        environment = {"PIP_CONSTRAINT": "/lowest.txt"}
    machine.do(block("install"), **environment)
    said = machine.do(block("test"), **environment)
    print(said[-3000:])
    assert re.search(r"\d+ passed", said)
