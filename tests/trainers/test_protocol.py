"""A trainer is one folder and one line in a table: all that stage 3 does goes through its door."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from datakit import (
    AuditOptions,
    BackendOptions,
    Batching,
    CropOptions,
    DatakitError,
    audit_datasets,
    crop_folder,
    emit_backend,
    verify_backend,
)
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.trainers import TRAINERS, trainer
from tests.conftest import BUCKETS

TOY = {"trainer": "toy"}


@pytest.fixture
def _toy(monkeypatch):
    monkeypatch.setitem(TRAINERS, "toy", "tests.trainers.toy_trainer:TRAINER")


@pytest.fixture
def cropped(pictures, tmp_path):
    """Two pictures as PNG, the one kind that the toy takes."""
    (tmp_path / "src").mkdir()
    for name in ("dogs", "fig"):
        (tmp_path / "src" / f"{name}.jpg").write_bytes((pictures / f"{name}.jpg").read_bytes())
        (tmp_path / "src" / f"{name}.txt").write_text("a caption of many words")
    crop_folder(tmp_path / "src", tmp_path / "out", CropOptions(format="png"))
    return tmp_path / "out"


@pytest.mark.usefixtures("_toy")
def test_a_second_trainer_writes_its_own_file_and_proves_it(cropped, tmp_path):
    emission = emit_backend([cropped], tmp_path / "cache", BackendOptions(**TOY))
    assert emission.content == f"toy {cropped}\n".encode()
    assert [name.partition("-")[0] for name, _ in emission.entries] == ["out"]
    assert emission.needs == ("Toy needs luck",)
    file = tmp_path / "toy.txt"
    file.write_bytes(emission.content)
    verdict = verify_backend(file)
    assert (verdict.pictures, verdict.faults, verdict.notes) == ({"out": 2}, [], ["replayed 1.0"])
    assert verify_backend(file, **TOY) == verdict
    with pytest.raises(DatakitError, match=r"release 'current' is not known: use 1\.0"):
        verify_backend(file, ["current"])
    with pytest.raises(DatakitError, match="no list of dataset entries"):
        verify_backend(file, trainer="simpletuner")
    with pytest.raises(DatakitError, match="shuffles no captions"):
        emit_backend([cropped], tmp_path / "cache", BackendOptions(**TOY, caption_shuffle=2))


@pytest.mark.usefixtures("_toy")
def test_what_a_second_trainer_does_not_take_is_found(cropped, make_dataset, tmp_path):
    (cropped / "old.toy").write_bytes(b"")
    emission = emit_backend([cropped], tmp_path / "cache", BackendOptions(**TOY))
    assert emission.content is None
    assert [(finding.kind, finding.path) for _, finding in emission.findings] == [("trainer-cache", "old.toy")]
    jpegs = make_dataset("jpegs", buckets=BUCKETS[:1])
    findings = emit_backend([jpegs], tmp_path / "cache", BackendOptions(**TOY)).findings
    assert [(finding.kind, finding.path) for _, finding in findings] == [("extension", "p00.jpg")]


@pytest.mark.usefixtures("_toy")
def test_an_audit_asks_the_second_trainer_for_its_epoch_and_its_encoders(cropped):
    audit = audit_datasets([cropped], AuditOptions(batching=Batching(5), **TOY))
    assert audit.training.real_steps_per_epoch == len({record.bucket for record in audit.concepts[0].records})
    assert audit.too_small
    assert [finding.problem for _, finding in audit.findings if finding.kind == "length"] == [
        "too long for the text encoders: toy sees 4 tokenizer tokens"
    ] * 2
    with pytest.raises(DatakitError, match="model family 'flux' is not known: use one of sd3"):
        AuditOptions(family="flux", **TOY)


@pytest.mark.usefixtures("_toy")
def test_the_trainer_of_a_file_is_told_by_its_content(tmp_path):
    file = tmp_path / "data.bin"
    file.write_bytes(b"\x00")
    with pytest.raises(
        DatakitError, match=r"no dataset file of any trainer \(simpletuner, .*, toy\): write one with `datakit backend`"
    ):
        verify_backend(file)
    with pytest.raises(DatakitError, match="gone cannot be read"):
        verify_backend(tmp_path / "gone")


def test_an_unknown_trainer_lists_the_known_ones(tmp_path):
    for ask in (
        lambda: trainer("magic"),
        lambda: BackendOptions(trainer="magic"),
        lambda: AuditOptions(trainer="magic"),
        lambda: verify_backend(tmp_path / "x", trainer="magic"),
    ):
        with pytest.raises(DatakitError, match="'magic' is unknown: choose from simpletuner"):
            ask()


@pytest.mark.parametrize("command", [backend, check, steps, verify])
def test_every_command_lists_the_known_trainers(command):
    asked = CliRunner().invoke(command, ["--trainer", "magic", "--cache-root", "c"][: 4 if command is backend else 2])
    assert asked.exit_code == 2
    assert "'magic' is not" in asked.stderr
    assert all(name in asked.stderr for name in TRAINERS)
