"""Stage 3 as Python functions: a file is given only where it is proved."""

from __future__ import annotations

import json

import pytest

from datakit import AuditOptions, BackendOptions, Batching, audit_datasets, emit_backend, verify_backend
from tests.conftest import BUCKETS


def test_a_proved_dataset_gives_the_file_that_verify_proves(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:3])
    emission = emit_backend([folder], tmp_path / "cache", BackendOptions(names=("mine",)))
    assert (emission.findings, emission.changed, emission.notes) == ((), (), ())
    ((name, concept),) = emission.entries
    assert name.startswith("mine-")
    assert len(concept.records) == 3
    assert json.loads(emission.content)[0]["id"] == name
    (tmp_path / "multidatabackend.json").write_bytes(emission.content)
    assert verify_backend(tmp_path / "multidatabackend.json").faults == []


@pytest.mark.parametrize("fault", ["picture", "setting"])
def test_nothing_is_given_where_a_picture_would_be_trained_otherwise(make_dataset, tmp_path, fault):
    folder = make_dataset(buckets=BUCKETS[:2])
    if fault == "picture":
        (folder / "p00.jpg").write_bytes(b"damaged")
    emission = emit_backend([folder], tmp_path / "cache", BackendOptions(settings=("crop=false",) if fault == "setting" else ()))
    assert emission.content is None
    assert bool(emission.findings) == (fault == "picture")
    assert bool(emission.changed) == (fault == "setting")


def test_an_audit_says_what_training_will_do(make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 3 + [BUCKETS[1]])
    audit = audit_datasets([folder], AuditOptions(batching=Batching(2)))
    assert [load.bucket for load in audit.too_small] == [BUCKETS[1]]
    assert audit.training.real_steps_per_epoch == 3
    assert audit.ways_out
