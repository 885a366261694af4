"""A dataset that was published in an object store: the entry that is written for it, and what of it can be proved from here."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import BackendOptions, emit_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend
from datakit.cli.verify import verify
from datakit.errors import UsageError
from datakit.trainers.backend import verify_backend
from datakit.trainers.simpletuner.published import shared_latents
from tests.conftest import BUCKETS

STORE = "http://127.0.0.1:8333"


@pytest.fixture
def published(make_dataset, run, tmp_path):
    """Return a dataset and the file for it where it was published."""
    folder = make_dataset(buckets=BUCKETS[:4])
    run(backend, folder, "--cache-root", "cache", "--at", "s3://pictures/http/fantasy", "--endpoint", STORE)
    return folder, tmp_path / "multidatabackend.json"


def change(file, **keys):
    """Change keys of the first entry; None takes one out."""
    first, *others = json.loads(file.read_text())
    file.write_text(json.dumps([{key: value for key, value in (first | keys).items() if value is not None}, *others]))


def test_the_entry_names_bucket_prefix_and_store_and_keeps_latents_on_disk(published, tmp_path):
    folder, file = published
    image, latents, text = json.loads(file.read_text())
    assert image["id"] == read_concept(folder).id
    assert (image["type"], image["aws_bucket_name"], image["aws_data_prefix"]) == ("aws", "pictures", "http/fantasy/")
    assert image["aws_endpoint_url"] == STORE
    assert "instance_data_dir" not in image
    assert (latents["type"], latents["dataset_type"], latents["id"]) == ("local", "image_embeds", image["image_embeds"])
    assert latents["cache_dir"] == image["cache_dir_vae"] == str(tmp_path / "cache" / "vae" / "sd3" / image["id"])
    assert text["id"] == image["text_embeds"]


def test_no_secret_is_ever_written(make_dataset, run, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWNKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own/secret")
    result = run(backend, make_dataset(buckets=BUCKETS[:4]), "--cache-root", "cache", "--at", "s3://pictures")
    content = (tmp_path / "multidatabackend.json").read_text()
    assert "AKIAOWNKEY" not in content + result.output
    assert "own/secret" not in content + result.output
    assert json.loads(content)[0]["aws_secret_access_key"] == "{env:AWS_SECRET_ACCESS_KEY}"
    for setting in ("aws_secret_access_key=x", "aws_session_token=x"):
        with pytest.raises(UsageError, match="secrets are never written"):
            run(backend, tmp_path / "out", "--cache-root", "cache", "--set", setting)


def test_what_it_needs_and_takes_for_granted_is_said(make_dataset, run):
    folder = make_dataset(buckets=BUCKETS[:4])
    said = run(backend, folder, "--cache-root", "cache", "--at", "s3://pictures")
    for words in (
        "4.10.1 or later",
        "3.1.6 and 4.8.0 cannot start",
        "leave out --at",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
    ):
        assert words in said.stderr
    assert f"provided that s3://pictures/ holds the files of {folder} and no other pictures" in said.stdout
    said = run(backend, folder, "--cache-root", "cache", "--at", "s3://pictures", "--endpoint", STORE, "--json", "--overwrite")
    assert "AWS_DEFAULT_REGION" not in said.stderr
    assert str(folder) in json.loads(said.stdout)["provided"][0]
    assert "provided that" not in run(backend, folder, "--cache-root", "cache", "--overwrite").stdout


def test_several_datasets_have_an_address_each(make_dataset, run, tmp_path):
    one, two = make_dataset("one", BUCKETS[:4]), make_dataset("two", BUCKETS[4:])
    run(backend, one, two, "--cache-root", "cache", "--at", "s3://pictures/http/one", "--at", "s3://pictures/http/two/")
    entries = json.loads((tmp_path / "multidatabackend.json").read_text())
    assert [entry.get("aws_data_prefix") for entry in entries] == ["http/one/", "http/two/", None, None, None]
    assert [entry["id"].split("-")[0] for entry in entries] == ["one", "two", "latents", "latents", "text"]
    verdict = verify_backend(tmp_path / "multidatabackend.json", datasets=[two, one])
    assert verdict.faults == []
    assert [clause.split()[0] for clause in verdict.provided] == ["s3://pictures/http/one/", "s3://pictures/http/two/"]


@pytest.mark.parametrize(
    ("at", "endpoint", "said"),
    [
        (["s3://pictures/fantasy"], STORE, "puts the prefix before each key once more"),
        (["https://pictures.s3.amazonaws.com"], STORE, "such as s3://bucket/http/fantasy"),
        (["pictures/http"], STORE, "such as s3://bucket/http/fantasy"),
        (["s3://Pictures"], STORE, "such as s3://bucket/http/fantasy"),
        (["s3://"], STORE, "such as s3://bucket/http/fantasy"),
        (["s3://key:secret@pictures"], STORE, "such as s3://bucket/http/fantasy"),
        (["s3://pictures/http/../x"], STORE, "empty, . or .."),
        (["s3://pictures/http//x"], STORE, "empty, . or .."),
        (["s3://pictures/http/{id}"], STORE, "cannot be in it"),
        (["s3://pictures/http/one", "s3://pictures/http/two"], STORE, "2 addresses for 1 datasets"),
        ([], STORE, "give --at too"),
        (["s3://pictures"], "127.0.0.1:8333", "--endpoint: give the URL"),
        (["s3://pictures"], "http://key:secret@127.0.0.1", "--endpoint: give the URL"),
        (["s3://pictures"], "http://127.0.0.1:port", "--endpoint: give the URL"),
        (["s3://pictures"], "", "--endpoint: give the URL"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(make_dataset, run, at, endpoint, said):
    addresses = [word for address in at for word in ("--at", address)]
    with pytest.raises(UsageError) as caught:
        run(backend, make_dataset(buckets=BUCKETS[:4]), "--cache-root", "cache", *addresses, "--endpoint", endpoint)
    assert said in str(caught.value)
    assert "key:secret" not in str(caught.value).replace("s3://key:secret@pictures", "")


def test_an_address_that_encloses_another_is_refused(make_dataset, run):
    one, two = make_dataset("one", BUCKETS[:4]), make_dataset("two", BUCKETS[4:])
    for first, second in (("s3://pictures", "s3://pictures/http/two"), ("s3://pictures/http/a", "s3://pictures/http/a/")):
        with pytest.raises(UsageError, match="under a prefix of its own"):
            run(backend, one, two, "--cache-root", "cache", "--at", first, "--at", second)


def test_a_faulty_dataset_is_refused_wherever_it_was_published(make_dataset, run):
    folder = make_dataset(buckets=BUCKETS[:4])
    (folder / "p00.txt").write_text("edited")
    assert "edited since" in run(backend, folder, "--cache-root", "cache", "--at", "s3://pictures", exit_code=1).stderr


@pytest.mark.parametrize("name", ["http", "http/p"])
def test_pictures_that_would_share_their_latents_below_a_prefix_are_refused(make_dataset, tmp_path, name):
    folder = make_dataset(buckets=BUCKETS[:2])
    manifest = folder / "manifest.jsonl"
    lines = manifest.read_text()
    (folder / "http").mkdir()
    for ending in ("jpg", "txt"):
        (folder / f"p01.{ending}").rename(folder / "http" / f"p00.{ending}")
    manifest.write_text(lines.replace("p01.", "http/p00."))
    options = BackendOptions(at=(f"s3://pictures/{name}",), endpoint=STORE)
    if name == "http":
        with pytest.raises(UsageError, match=r"p00\.jpg and http/p00\.jpg would share their latents"):
            emit_backend([folder], tmp_path / "cache", options)
    else:
        assert emit_backend([folder], tmp_path / "cache", options).content


@given(
    st.sampled_from(["", "http/", "http/a/"]), st.sets(st.sampled_from(["x.jpg", "y.jpg", "s/x.jpg", "http/x.jpg", "a/x.jpg"]))
)
def test_latents_are_shared_only_by_files_of_one_stem(prefix, names):
    for shared in shared_latents(prefix, sorted(names)):
        assert len({name.rpartition("/")[2] for name in shared}) == 1
        assert prefix


def test_without_its_folder_it_is_not_proved(published, run):
    _, file = published
    said = run(verify, file, exit_code=1).output
    assert "cannot be proved: its pictures lie at s3://pictures/http/fantasy/, which is not looked at" in said
    assert "--dataset" in said
    assert "proved: every picture" not in said


def test_with_its_folder_it_is_proved_of_what_the_folder_holds(published, run):
    folder, file = published
    said = run(verify, file, "--dataset", folder).stdout
    assert f"provided that s3://pictures/http/fantasy/ holds the files of {folder}" in said
    assert "what the trainer scanned lies beside the pictures" in said
    report = json.loads(run(verify, file, "--dataset", folder, "--json").stdout)
    assert report["proved"]
    assert report["provided"]


def test_a_folder_that_was_changed_or_is_another_proves_nothing(published, make_dataset, run):
    folder, file = published
    other = make_dataset("other", BUCKETS[4:])
    assert "none of the folders given by --dataset" in run(verify, file, "--dataset", other, exit_code=1).output
    (folder / "p00.txt").write_text("edited")
    assert "edited since datakit wrote it: p00.txt" in run(verify, file, "--dataset", folder, exit_code=1).output
    (folder / "p01.jpg").unlink()
    assert "in the manifest but gone: p01.jpg" in run(verify, file, "--dataset", folder, exit_code=1).output


def test_a_local_dataset_beside_it_proves_nothing_of_it(published, run, tmp_path):
    folder, file = published
    image, *others = json.loads(file.read_text())
    local = {"type": "local", "id": "here", "instance_data_dir": str(folder), "cache_dir_vae": str(tmp_path / "here")}
    here = {key: value for key, value in image.items() if not key.startswith("aws_") and key != "image_embeds"} | local
    file.write_text(json.dumps([here, image, *others]))
    assert "not proved: 1 fault" in run(verify, file, exit_code=1).stdout
    change(file, disabled=True)
    file.write_text(json.dumps([here, *others]))
    with pytest.raises(UsageError, match="without --dataset"):
        run(verify, file, "--dataset", folder)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"aws_data_prefix": "http/fantasy"}, "let it end with /"),
        ({"aws_data_prefix": "fantasy/"}, "puts the prefix before each key once more"),
        ({"aws_data_prefix": ["http/fantasy/"]}, "is a list"),
        ({"aws_endpoint_url": None}, "aws_endpoint_url is missing"),
        ({"aws_secret_access_key": ""}, "aws_secret_access_key is missing"),
        ({"image_embeds": "elsewhere"}, "'elsewhere' is no image_embeds entry of this file"),
        ({"type": "csv"}, "cannot be proved: type csv reads its pictures from no folder"),
        ({"id": "fantasy"}, "none of the folders given"),
        ({"crop_aspect": "random"}, "use preserve"),
    ],
)
def test_what_the_trainer_would_take_otherwise_is_a_fault(published, keys, said):
    folder, file = published
    change(file, **keys)
    if keys.get("type") == "csv":
        with pytest.raises(UsageError, match="no dataset in an object store"):
            verify_backend(file, datasets=[folder])
    datasets = [] if "type" in keys else [folder]
    assert any(said in fault.problem + fault.remedy for fault in verify_backend(file, datasets=datasets).faults)


def test_a_release_that_cannot_read_it_is_a_fault(published):
    folder, file = published
    (fault,) = verify_backend(file, ["2024-10"], datasets=[folder]).faults
    assert "type aws needs SimpleTuner 4.10.1 or later, which 2024-10 is not" in fault.problem
