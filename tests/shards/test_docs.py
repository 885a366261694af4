"""docs/scaling.md is true: its commands run, with two shards for 128, a folder for the bucket, and this machine for the cluster."""

from __future__ import annotations

from datakit import CropOptions, crop_folder
from tests.commands import invoke
from tests.documents import lines, typed
from tests.shards.conftest import write_tar

LOCAL = {"{00000..00127}": "{00000..00001}", "s3://bucket": "bucket", " --executor ray --address auto": ""}


def test_its_commands_run(pictures, tmp_path):
    for name in ("fig", "dogs"):
        sample = {f"{name}.{kind}": (pictures / f"{name}.{kind}").read_bytes() for kind in ("jpg", "txt")}
        for place in ("raw", "bucket/raw"):
            write_tar(tmp_path / place / f"0000{int(name == 'dogs')}.tar", sample)
        for place in ("photos", "bucket/photos"):
            (tmp_path / place).mkdir(exist_ok=True)
            for file, data in sample.items():
                (tmp_path / place / file).write_bytes(data)
    (tmp_path / "names.txt").write_text("".join(f"{path.name}\n" for path in sorted((tmp_path / "photos").iterdir())))
    crop_folder(tmp_path / "photos", tmp_path / "out", CropOptions(detector="none", saliency="none"))
    commands = lines("docs/scaling.md")
    assert len(commands) >= 4
    for line in commands:
        local = line
        for there, here in LOCAL.items():
            local = local.replace(there, here)
        done = invoke(typed(local), tmp_path)
        assert done.exit_code == 0, f"{local}\n{done.output}"
    assert (tmp_path / "cropped" / "dataset.json").exists()
