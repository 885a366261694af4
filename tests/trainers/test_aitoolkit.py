"""ai-toolkit: the job that is written, and the proof of anybody's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from datakit import BackendOptions, Batching, DatakitError, emit_backend, verify_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.verify import verify
from datakit.geometry import Size
from datakit.trainers import trainer
from datakit.trainers.aitoolkit.models import FAMILIES
from datakit.trainers.making import make_view
from tests.conftest import BUCKETS
from tests.trainers.conftest import draw
from tests.trainers.golden_cases import GOLDEN

AITOOLKIT = BackendOptions(trainer="ai-toolkit")


@pytest.fixture
def written(make_dataset, tmp_path):
    """Return a function that writes the job of a dataset as the command does."""

    def write(folder=None, options=AITOOLKIT):
        emission = emit_backend([folder or make_dataset()], tmp_path / "cache", options)
        assert emission.content is not None, emission.findings
        for view in emission.views:
            make_view(view)
        file = tmp_path / "ai-toolkit.yaml"
        file.write_bytes(emission.content)
        return file

    return write


@pytest.fixture
def plain(make_dataset):
    """A folder of pictures of the eight sizes with captions, as people have one."""
    folder = make_dataset("plain")
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    return folder


def job(tmp_path, *datasets, name="people.yaml", **process):
    """Write a job with these datasets."""
    config = {"name": "mine", "process": [{"type": "sd_trainer", "datasets": list(datasets)} | process]}
    file = tmp_path / name
    file.write_text(yaml.safe_dump({"job": "extension", "config": config}))
    return file


def kept(folder, **keys):
    """Return the dataset that keeps all pictures of a folder."""
    return {"folder_path": str(folder), "resolution": 1024} | keys


def problems(verdict):
    return [(fault.path, fault.problem) for fault in verdict.faults]


def only(job):
    (process,) = yaml.safe_load(job)["config"]["process"]
    return process


def test_each_dataset_has_a_view_and_an_entry(written, tmp_path):
    file = written()
    process = only(file.read_bytes())
    (dataset,) = process["datasets"]
    assert dataset == {
        "folder_path": dataset["folder_path"],
        "caption_ext": "txt",
        "resolution": [1024],
        "num_repeats": 1,
        "buckets": True,
        "cache_latents_to_disk": True,
        "caption_dropout_rate": 0.0,
        "shuffle_tokens": False,
        "random_crop": False,
        "flip_x": False,
    }
    assert dataset["folder_path"].startswith(f"{tmp_path}/cache/out-")
    assert process["train"]["steps"] == 10 * len(BUCKETS)
    verdict = verify_backend(file)
    assert (verdict.faults, verdict.notes) == ([], [])
    assert list(verdict.pictures.values()) == [len(BUCKETS)]


def test_the_command_says_how_to_start_and_verify_finds_whose_file_it_is(make_dataset, run, tmp_path):
    folder = make_dataset()
    said = run(backend, folder, "--trainer", "ai-toolkit", "--cache-root", tmp_path / "cache", "--batch-size", 3)
    assert f"python run.py {tmp_path}/ai-toolkit.yaml" in said.stdout
    assert "as of 2026-05-28 or later" in said.stderr
    assert "proved" in run(verify, tmp_path / "ai-toolkit.yaml").stdout
    train = only((tmp_path / "ai-toolkit.yaml").read_bytes())["train"]
    assert (train["batch_size"], train["steps"]) == (3, 80)


def test_its_caches_in_a_view_are_no_fault(written):
    file = written()
    verify_backend(file)
    (dataset,) = only(file.read_bytes())["datasets"]
    latents = os.path.join(dataset["folder_path"], "_latent_cache")
    os.mkdir(latents)
    for name in os.listdir(dataset["folder_path"]):
        if name.endswith(".jpg"):
            cache = os.path.join(latents, f"{name[:-4]}_{'a' * 22}.safetensors")
            with open(cache, "wb"):
                os.utime(cache, (0, 0))
    with open(os.path.join(dataset["folder_path"], ".aitk_size.json"), "wb"):
        pass
    verdict = verify_backend(file)
    assert (verdict.faults, verdict.notes) == ([], [])


def test_each_of_several_captions_becomes_a_file(make_dataset, written, run, tmp_path):
    folder = make_dataset(lines=[3, 3, 3, 3, 3, 3, 3, 1])
    said = run(backend, folder, "--trainer", "ai-toolkit", "--cache-root", tmp_path / "cache")
    assert "each of several captions of a picture is written out" in said.stdout
    verdict = verify_backend(tmp_path / "ai-toolkit.yaml")
    assert verdict.faults == []
    assert list(verdict.pictures.values()) == [22]
    (dataset,) = only((tmp_path / "ai-toolkit.yaml").read_bytes())["datasets"]
    captions = {path.name: path.read_text() for path in Path(dataset["folder_path"]).glob("*.txt")}
    assert captions["p00_1.txt"] == "ohwx, token 0, line 0, copy 1"
    assert len(set(captions.values())) == 22
    with pytest.raises(DatakitError, match="use 3 or a multiple of it"):
        emit_backend([folder], tmp_path / "cache", BackendOptions(trainer="ai-toolkit", repeats=(4,)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_eight_sizes(make_dataset, written, family):
    file = written(make_dataset(), BackendOptions(trainer="ai-toolkit", family=family))
    assert verify_backend(file).faults == []
    process = only(file.read_bytes())
    assert process["model"] == FAMILIES[family].model
    assert process["train"]["noise_scheduler"] == process["sample"]["sampler"] == FAMILIES[family].scheduler


@pytest.mark.parametrize(
    ("family", "told"), [("flux", False), ("sdxl", False), ("flux2", True), ("qwen-image", True), ("hidream", True)]
)
def test_the_blank_that_it_doubles_is_told_where_the_model_sees_it(make_dataset, tmp_path, family, told):
    emission = emit_backend([make_dataset()], tmp_path / "cache", BackendOptions(trainer="ai-toolkit", family=family))
    words = f"out: 8 captions are trained with two blanks behind each comma, which {', '.join(FAMILIES[family].tokens)} takes for other"
    assert [note.startswith(words) for note in emission.notes] == [True] * told


@pytest.mark.parametrize("mark", ["[trigger]", "[name]"])
def test_captions_with_what_it_takes_out_are_refused(make_dataset, written, tmp_path, mark):
    folder = make_dataset(buckets=BUCKETS[:1])
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    (folder / "p00.txt").write_text(f"{mark}, smiling")
    verdict = verify_backend(job(tmp_path, kept(folder)))
    assert problems(verdict) == [("p00.txt", f"{mark} in a caption is taken out, as no trigger word is set")]
    verdict = verify_backend(job(tmp_path, kept(folder), trigger_word="ohwx"))
    assert verdict.faults == []
    assert verdict.notes == ["out: the trigger word 'ohwx' is put before captions without it"]


def test_a_dataset_with_what_it_takes_out_of_captions_is_refused(make_dataset, run, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / "p00.txt").write_text("[trigger], smiling")
    run(check, folder, "--fix")
    with pytest.raises(DatakitError, match=r"p00\.txt: ai-toolkit takes \[trigger\] and \[name\] out of captions"):
        emit_backend([folder], tmp_path / "cache", AITOOLKIT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": ("a=1",)}, "takes no --set"),
        ({"caption_shuffle": 3}, "cannot shuffle captions"),
        ({"family": "cascade"}, "model family 'cascade' is not known"),
    ],
)
def test_what_the_file_cannot_say_is_refused(make_dataset, tmp_path, options, words):
    with pytest.raises(DatakitError, match=words):
        emit_backend([make_dataset()], tmp_path / "cache", BackendOptions(trainer="ai-toolkit", **options))


@pytest.mark.parametrize("name", ["${HOME}", "[name]"])
def test_a_path_that_it_would_change_is_refused(make_dataset, tmp_path, name):
    with pytest.raises(DatakitError, match="name another --cache-root"):
        emit_backend([make_dataset()], tmp_path / name, AITOOLKIT)


def test_odd_paths_come_back_as_they_are(make_dataset, tmp_path):
    cache = tmp_path / 'a "b": {c}, #d é 日本 \\n'
    emission = emit_backend([make_dataset()], cache, AITOOLKIT)
    (dataset,) = only(emission.content)["datasets"]
    assert dataset["folder_path"] == str(emission.views[0].folder)
    assert str(cache) in dataset["folder_path"]


# Its own defaults, and what people set.
@pytest.mark.parametrize(
    ("keys", "changed", "cause"),
    [
        ({}, 8, "resolution is 512"),
        ({"resolution": 1000}, 8, "resolution is 1000"),
        ({"resolution": 1024, "buckets": False}, 7, "resolution is 1024, buckets is false: all is cut to squares"),
        ({"resolution": 1024, "square_crop": True}, 7, "square_crop is true"),
        ({"resolution": 1024, "scale": 0.5}, 8, "scale is 0.5"),
    ],
)
def test_defaults_are_refused_with_the_number_of_pictures_and_what_to_set(plain, tmp_path, keys, changed, cause):
    verdict = verify_backend(job(tmp_path, {"folder_path": str(plain)} | keys))
    assert len(verdict.faults) == changed
    for fault in verdict.faults:
        assert fault.problem.startswith(f"{changed} of 8 pictures would be resized or cropped: ")
        assert cause in fault.problem
        assert "set resolution to 1024 and buckets to true" in fault.remedy


def test_the_resolutions_of_its_examples_train_every_picture_three_times(plain, tmp_path):
    verdict = verify_backend(
        job(tmp_path, {"folder_path": str(plain), "resolution": [512, 768, 1024], "caption_dropout_rate": 0.05})
    )
    assert problems(verdict)[0] == ("", "every picture is trained 3 times, at resolutions 512, 768, 1024")
    assert len(verdict.faults) == 9
    assert "caption_dropout_rate leaves out 5% of captions" in verdict.notes[0]


def test_a_resolution_of_1024_keeps_all_whoever_wrote_the_file(plain, tmp_path):
    for resolution in (1024, [1024], 2048):
        verdict = verify_backend(job(tmp_path, kept(plain, resolution=resolution), model={"arch": "zimage:turbo"}))
        assert (verdict.faults, verdict.notes) == ([], [])
    verdict = verify_backend(job(tmp_path, kept(plain), model={"arch": "tomorrow"}))
    assert verdict.faults == []
    assert "it is not known what sides tomorrow needs" in verdict.notes[0]


@pytest.mark.parametrize(
    ("model", "changed"),
    [({"is_flux": True}, 1), ({"arch": "flex1"}, 1), ({"is_xl": True}, 0), ({"is_v2": True}, 0), ({}, 0), ({"is_v3": True}, 1)],
)
def test_what_sides_are_rounded_to_follows_from_the_model(tmp_path, model, changed):
    (tmp_path / "narrow").mkdir()
    draw(tmp_path / "narrow" / "a.png", Size(1024, 1008), 1)
    (tmp_path / "narrow" / "a.txt").write_text("a")
    assert len(verify_backend(job(tmp_path, kept(tmp_path / "narrow"), model=model)).faults) == changed


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"folder_path": "person"}, "is no absolute path"),
        ({"folder_path": None}, "is no absolute path"),
        ({"folder_path": "/nowhere/at/all"}, "is no absolute path"),
        ({"flip_x": True}, "flip_x changes pixels"),
        ({"flip_y": True}, "flip_y changes pixels"),
        ({"augments": ["ColorJitter"]}, "augments changes pixels"),
        ({"augmentations": [{"method": "Rotate"}]}, "augmentations changes pixels"),
        ({"type": "slider"}, "type 'slider' ends the run"),
        ({"poi": "face"}, "poi ends the run"),
        ({"num_frames": 16}, "look for videos too"),
        ({"resolution": []}, "is none"),
        ({"caption_ext": "caption"}, "no .caption beside it: ai-toolkit trains without a caption"),
        ({"caption_ext": "caption", "default_caption": "a photo"}, "ai-toolkit trains with 'a photo'"),
    ],
)
def test_what_is_not_trained_as_written_is_named(make_dataset, tmp_path, keys, problem):
    folder = make_dataset("squares", buckets=BUCKETS[:1])
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    verdict = verify_backend(job(tmp_path, kept(folder, **keys)))
    assert len(verdict.faults) == 1
    assert problem in verdict.faults[0].problem


def test_what_ends_the_run_between_datasets(make_dataset, tmp_path):
    folder = make_dataset("squares", buckets=BUCKETS[:1])
    file = job(
        tmp_path,
        kept(folder, cache_text_embeddings=True),
        kept(folder, buckets=False, batch_size=2),
        train={"gradient_accumulation": 2, "gradient_accumulation_steps": 4},
    )
    verdict = verify_backend(file)
    assert [problem for _, problem in problems(verdict)] == [
        "some datasets have buckets and some have not, which ends the run",
        "gradient_accumulation and gradient_accumulation_steps are both set, which ends the run",
        "cache_text_embeddings is true in some datasets alone, which ends the run",
        "batch_size in a dataset without buckets ends the run",
    ]
    assert verdict.pictures == {"squares": 1, "squares #2": 1}


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"shuffle_tokens": True}, "keep_tokens keeps nothing in its place"),
        ({"token_dropout_rate": 0.1}, "leaves out 10% of what stands between commas"),
        ({"trigger_word": "ohwx"}, "the trigger word 'ohwx' is put before captions"),
        ({"random_triggers": ["a"]}, "adds words to captions"),
    ],
)
def test_what_may_surprise_is_a_note(make_dataset, tmp_path, keys, note):
    verdict = verify_backend(job(tmp_path, kept(make_dataset("squares", buckets=BUCKETS[:1]), **keys)))
    assert verdict.faults == []
    assert [note in said for said in verdict.notes] == [True]


def test_several_lines_are_one_caption(make_dataset, tmp_path):
    verdict = verify_backend(job(tmp_path, kept(make_dataset("lines", buckets=BUCKETS[:1], lines=2))))
    assert problems(verdict) == [
        ("p00.txt", "several lines: ai-toolkit takes all of them for one caption, with the line ends in it")
    ]


def test_folders_below_are_looked_into_but_hidden_ones_controls_and_links(plain, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("deep", ".hidden", "_controls"):
        (plain / name).mkdir()
    (plain / "linked").symlink_to(tmp_path / "elsewhere")
    for folder in (plain / "deep", plain / ".hidden", plain / "_controls", tmp_path / "elsewhere"):
        draw(folder / "more.png", Size(1024, 1024), 1)
        (folder / "more.txt").write_text("more")
    verdict = verify_backend(job(tmp_path, kept(plain)))
    assert list(verdict.pictures.values()) == [9]
    assert problems(verdict) == [("linked/more.png", "in a folder that is a link, which ai-toolkit does not enter")]


def listed(tmp_path, captions):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({str(path): {"caption": caption} for path, caption in captions.items()}))
    return file


def test_a_list_of_pictures_is_proved_too(plain, tmp_path):
    captions = dict.fromkeys(plain.glob("*.jpg"), "a caption")
    draw(plain / "not listed.png", Size(100, 100), 1)
    dataset = {"dataset_path": str(listed(tmp_path, captions)), "resolution": 1024}
    verdict = verify_backend(job(tmp_path, dataset))
    assert (verdict.faults, verdict.notes) == ([], [])
    assert list(verdict.pictures.values()) == [8]
    assert len(verify_backend(job(tmp_path, dataset | {"resolution": 512})).faults) == 8
    for keys in ({"train": {"cache_text_embeddings": True}}, {}):
        verdict = verify_backend(job(tmp_path, dataset | {"cache_text_embeddings": not keys}, **keys))
        assert ["the captions of a .json file are not read" in problem for _, problem in problems(verdict)] == [True]
    first = plain / "p00.jpg"
    listed(tmp_path, captions | {first: "[trigger]", plain / "gone.png": ""})
    verdict = verify_backend(job(tmp_path, dataset))
    assert problems(verdict) == [
        (str(plain / "gone.png"), "named, but not there: ai-toolkit leaves it out"),
        (str(first), "[trigger] in a caption is taken out, as no trigger word is set"),
    ]
    assert "1 empty caption" in verdict.notes[0]
    (tmp_path / "captions.json").write_text("[]")
    with pytest.raises(DatakitError, match="names no pictures and captions"):
        verify_backend(job(tmp_path, dataset))


def test_what_stands_in_the_environment_and_the_name_is_put_in(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("DATAKIT_TEST_FOLDER", str(plain.parent))
    renamed = plain.rename(plain.parent / "mine")
    file = job(tmp_path, {"folder_path": "${DATAKIT_TEST_FOLDER}/[name]", "resolution": 1024})
    assert list(verify_backend(file).pictures) == [renamed.name]
    monkeypatch.delenv("DATAKIT_TEST_FOLDER")
    with pytest.raises(DatakitError, match="needs the environment variable DATAKIT_TEST_FOLDER"):
        verify_backend(file)


def test_a_job_in_json_is_read_too(plain, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(json.dumps(yaml.safe_load(job(tmp_path, kept(plain)).read_text())))
    assert verify_backend(file).faults == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "job: x",
        "- 1",
        "job: a\nconfig: {process: [{datasets: 3}], name: a}",
        "a: [",
        "job: a\nconfig: {process: []}\n",
        "\x00",
    ],
)
def test_files_that_are_no_job_are_refused(tmp_path, text):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(DatakitError):
        verify_backend(file, trainer="ai-toolkit")


def test_a_job_without_a_dataset_proves_nothing(tmp_path):
    with pytest.raises(DatakitError, match="has no dataset"):
        verify_backend(job(tmp_path))


# Three pictures of each of two sizes, shown twice: six samples a size.
@pytest.mark.parametrize(
    ("batching", "steps", "padded"),
    [(Batching(1), 12, 0), (Batching(4), 4, 4), (Batching(4, 1, 3), 2, 4), (Batching(4, 2), 4, 4)],
)
def test_an_epoch_fills_its_batches_up(make_dataset, batching, steps, padded):
    target = trainer("ai-toolkit")
    concept = target.trained(read_concept(make_dataset(buckets=BUCKETS[:2] * 3), repeats=2), "flux")
    epoch = target.steps([concept], batching)
    assert epoch.real_steps == epoch.planned_steps == steps
    assert sum(load.padded for load in epoch.loads) == padded
    assert not any(load.too_small or load.dropped for load in epoch.loads)
    assert bool(epoch.notes) == (batching.gpus > 1)


def test_datasets_share_no_batch_and_captions_are_files(make_dataset):
    target = trainer("ai-toolkit")
    both = [
        target.trained(read_concept(make_dataset(name, buckets=BUCKETS[:1], lines=5)), "flux") for name in ("person", "style")
    ]
    epoch = target.steps(both, Batching(4))
    assert [(load.concept, load.pictures, load.passes, load.real) for load in epoch.loads] == [
        ("person", 5, 1, 2),
        ("style", 5, 1, 2),
    ]


@pytest.mark.parametrize(
    ("case", "repeats", "steps"),
    [("cropped", [1], 160), ("copies", [1], 800), ("captions-only", [1], 800), ("two-concepts", [3, 2], 640)],
)
def test_the_four_files_say_what_was_accepted(case, repeats, steps):
    process = only((GOLDEN / f"ai-toolkit-{case}.yaml").read_bytes())
    assert [dataset["num_repeats"] for dataset in process["datasets"]] == repeats
    assert all((dataset["resolution"], dataset["buckets"]) == ([1024], True) for dataset in process["datasets"])
    assert process["train"]["steps"] == steps
