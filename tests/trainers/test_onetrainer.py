"""OneTrainer: the concepts that are written, and the proof of anybody's."""

from __future__ import annotations

import json

import pytest

from datakit import BackendOptions, Batching, DatakitError, emit_backend, verify_backend
from datakit.audit.concept import hash_in, read_concept
from datakit.cli.backend import backend, check
from datakit.cli.verify import verify
from datakit.geometry import Size
from datakit.trainers import trainer
from datakit.trainers.making import make_view
from tests.conftest import BUCKETS
from tests.trainers.conftest import draw
from tests.trainers.golden_cases import GOLDEN

ONETRAINER = BackendOptions(trainer="onetrainer")


@pytest.fixture
def written(make_dataset, tmp_path):
    """Return a function that writes the concepts of a dataset as the command does."""

    def write(folder=None, options=ONETRAINER):
        emission = emit_backend([folder or make_dataset()], tmp_path / "cache", options)
        assert emission.content is not None, emission.findings
        for view in emission.views:
            make_view(view)
        file = tmp_path / "concepts.json"
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


def concepts(tmp_path, *entries, **config):
    """Write a list of concepts, or a train config that has them."""
    file = tmp_path / "people.json"
    file.write_text(json.dumps(config | {"concepts": list(entries)} if config else list(entries)))
    return file


def one_a_size(folder, **keys):
    """Return the one concept that keeps all pictures of a folder, which then have one size."""
    image = {"enable_resolution_override": True, "resolution_override": "1024x1024"}
    return {"__version": 2, "path": str(folder), "image": image, "text": {}} | keys


def problems(verdict):
    return [(fault.path, fault.problem) for fault in verdict.faults]


def test_each_size_has_a_view_and_a_concept_with_a_seed_of_its_content(written, tmp_path):
    file = written()
    entries = json.loads(file.read_bytes())
    assert [entry["image"]["resolution_override"] for entry in entries] == [str(size) for size in BUCKETS]
    for entry in entries:
        assert entry["seed"] == int(hash_in(entry["path"]), 16) & 0x3FFFFFFF
        assert entry["path"].startswith(str(tmp_path / "cache"))
    verdict = verify_backend(file)
    assert verdict.faults == []
    assert verdict.notes == []
    assert sum(verdict.pictures.values()) == len(BUCKETS)


def test_a_changed_caption_changes_the_seed_of_its_size_alone(make_dataset, written, run):
    folder = make_dataset()
    before = {entry["name"]: entry["seed"] for entry in json.loads(written(folder).read_bytes())}
    (folder / "p00.txt").write_text("another caption")
    run(check, folder, "--fix")
    after = {entry["name"]: entry["seed"] for entry in json.loads(written(folder).read_bytes())}
    assert [name for name in before if before[name] != after[name]] == ["out 1024x1024"]


def test_the_command_says_how_to_start_and_verify_finds_whose_file_it_is(make_dataset, run, tmp_path):
    folder = make_dataset()
    said = run(backend, folder, "--trainer", "onetrainer", "--cache-root", tmp_path / "cache")
    assert f"concept_file_name={tmp_path}/concepts.json" in said.stdout
    assert "aspect_ratio_bucketing and latent_caching on" in said.stderr
    assert "proved" in run(verify, tmp_path / "concepts.json").stdout
    (folder / "p00.jpg").unlink()
    run(backend, folder, "--trainer", "onetrainer", "--cache-root", tmp_path / "cache", exit_code=1)


def test_old_views_are_named_and_deleted_where_asked(make_dataset, run, tmp_path):
    folder, cache = make_dataset(buckets=BUCKETS[:2]), tmp_path / "cache"
    run(backend, folder, "--trainer", "onetrainer", "--cache-root", cache)
    (folder / "p00.txt").write_text("another caption")
    said = run(backend, folder, "--trainer", "onetrainer", "--cache-root", cache, "--fix", "--overwrite")
    assert said.stderr.count("--prune deletes it") == 1
    run(backend, folder, "--trainer", "onetrainer", "--cache-root", cache, "--prune", "--overwrite")
    assert sorted(path.name.rpartition("-")[0] for path in cache.iterdir() if not path.name.startswith(".")) == [
        "out-1024x1024",
        "out-1152x896",
    ]


def test_of_several_captions_the_share_that_is_ever_trained_is_told(make_dataset, written, tmp_path):
    folder = make_dataset(lines=5, stage="shuffle")
    emission = emit_backend([folder], tmp_path / "cache", ONETRAINER)
    entries = json.loads(emission.content)
    assert {(entry["text_variations"], entry["balancing"]) for entry in entries} == {(5, 5.0)}
    # 1 - (4 / 5) to the fifth is 0.672.
    assert ["about 27 of 40 captions of pictures with several (67%) are ever trained" in note for _, concept in emission.entries for note in concept.notes] == [True]  # fmt: skip
    verdict = verify_backend(written(folder))
    assert verdict.faults == []
    assert "about 3 of 5 captions" in verdict.notes[0]


def test_captions_that_are_never_drawn_are_refused(make_dataset, tmp_path):
    folder = make_dataset("lines", buckets=BUCKETS[:1], lines=5)
    verdict = verify_backend(concepts(tmp_path, one_a_size(folder, text_variations=1)))
    assert problems(verdict) == [
        ("p00.txt", "text_variations is 1: of several captions so many are ever trained at most"),
    ]
    assert verdict.faults[0].detail == "5 captions"
    assert verify_backend(concepts(tmp_path, one_a_size(folder, text_variations=5))).faults == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": ("a=1",)}, "takes no --set"),
        ({"caption_shuffle": 3}, "cannot shuffle captions"),
        ({"batch_size": 2}, "from its train config"),
        ({"family": "cascade"}, "model family 'cascade' is not known"),
    ],
)
def test_what_the_file_cannot_say_is_refused(make_dataset, tmp_path, options, words):
    with pytest.raises(DatakitError, match=words):
        emit_backend([make_dataset()], tmp_path / "cache", BackendOptions(trainer="onetrainer", **options))


# Its own defaults, and what people set.
@pytest.mark.parametrize(
    ("entry", "config", "changed", "cause"),
    [
        ({}, {}, 8, "enable_resolution_override is off, and resolution is 512 where the train config does not say another"),
        ({}, {"resolution": "1024"}, 2, "resolution of the train config is 1024, and enable_resolution_override is off"),
        ({}, {"resolution": 1010}, 1, "resolution of the train config is 1010"),
        ({}, {"resolution": "1024", "aspect_ratio_bucketing": False}, 7, "and aspect_ratio_bucketing is off"),
        ({"image": {"enable_resolution_override": True}}, {}, 8, "resolution_override is 512"),
        ({"image": {"enable_resolution_override": True, "resolution_override": "1216x832"}}, {}, 7, "resolution_override is 1216x832"),
    ],
)  # fmt: skip
def test_defaults_are_refused_with_the_number_of_pictures_and_what_to_set(plain, tmp_path, entry, config, changed, cause):
    verdict = verify_backend(concepts(tmp_path, {"path": str(plain), "text": {}} | entry, **config))
    assert {fault.problem for fault in verdict.faults} == {
        f"{changed} of 8 pictures would be resized or cropped: {fault.problem.partition(': ')[2]}" for fault in verdict.faults
    }
    assert len(verdict.faults) == changed
    assert all(cause in fault.problem and "resolution_override, such as 1216x832" in fault.remedy for fault in verdict.faults)


def test_sizes_in_their_own_resolution_are_kept_whoever_wrote_the_file(make_dataset, tmp_path):
    folder = make_dataset("squares", buckets=BUCKETS[:1] * 3)
    verdict = verify_backend(concepts(tmp_path, one_a_size(folder)))
    assert verdict.faults == []
    assert verdict.buckets == {str(folder): {"1024x1024": 3}}
    assert "its seed does not follow from its content" in verdict.notes[0]


def test_a_model_that_rounds_to_128_loses_most_sizes(plain, tmp_path):
    verdict = verify_backend(concepts(tmp_path, {"path": str(plain)}, resolution="1024", model_type="STABLE_CASCADE_1"))
    assert len(verdict.faults) > 2


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"path": "person"}, "is no absolute path of a folder"),
        ({"path": "/nowhere/at/all"}, "is no absolute path of a folder"),
        ({"image": {"enable_resolution_override": True, "resolution_override": "big"}}, "ends the run"),
        ({"image": {"enable_resolution_override": True, "resolution_override": "1024x1024", "enable_random_flip": True}}, "enable_random_flip changes the pixels"),
        ({"image": {"enable_resolution_override": True, "resolution_override": "1024x1024", "enable_fixed_hue": True}}, "enable_fixed_hue changes the pixels"),
        ({"text": {"prompt_source": "filename"}}, "a caption that is not read: prompt_source takes the file's name"),
        ({"text": {"prompt_source": "concept"}}, "a caption that is not read: prompt_source takes prompt_path"),
    ],
)  # fmt: skip
def test_what_is_not_trained_as_written_is_named(make_dataset, tmp_path, keys, problem):
    folder = make_dataset("squares", buckets=BUCKETS[:1])
    verdict = verify_backend(concepts(tmp_path, one_a_size(folder, **keys)))
    assert len(verdict.faults) == 1
    assert problem in verdict.faults[0].problem
    assert verdict.faults[0].remedy


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"text": {"enable_tag_shuffling": True}}, "shuffles the tags"),
        ({"text": {"tag_dropout_enable": True}}, "leaves tags of its captions out"),
        ({"text": {"caps_randomize_enable": True}}, "changes capital letters"),
        ({"balancing_strategy": "SAMPLES", "balancing": 7}, "7 of 1 picture in an epoch"),
        ({"balancing": 1.5}, "epochs go on through the folder"),
        ({"__version": 0, "repeats": 2.5}, "balancing 2.5 is no whole number"),
        ({"__version": 1}, "rewrites the file as of version 2"),
    ],
)
def test_what_may_surprise_is_a_note(make_dataset, tmp_path, keys, note):
    folder = make_dataset("squares", buckets=BUCKETS[:1])
    verdict = verify_backend(concepts(tmp_path, one_a_size(folder, **keys)))
    assert verdict.faults == []
    assert any(note in said for said in verdict.notes)


def test_concepts_that_are_not_trained_and_those_taken_for_one(make_dataset, tmp_path):
    entry = one_a_size(make_dataset("squares", buckets=BUCKETS[:1]), seed=5)
    off = [entry | {"enabled": False, "name": "off"}, entry | {"type": "VALIDATION", "name": "held back"}]
    verdict = verify_backend(concepts(tmp_path, entry, *off))
    assert verdict.faults == []
    assert [note for note in verdict.notes if "is not trained" in note] == [
        "off is not trained: it is switched off, or there to validate",
        "held back is not trained: it is switched off, or there to validate",
    ]
    twice = verify_backend(concepts(tmp_path, entry, entry | {"name": "again"}))
    assert ["takes the two for one" in problem for _, problem in problems(twice)] == [True]
    with pytest.raises(DatakitError, match="no concept that is switched on"):
        verify_backend(concepts(tmp_path, *off))


def test_folders_below_count_only_where_they_are_looked_into(plain, tmp_path):
    for name in ("deep", ".hidden"):
        (plain / name).mkdir()
        draw(plain / name / "more.png", Size(1024, 1024), 1)
        (plain / name / "more.txt").write_text("more")
    entry = {"path": str(plain), "text": {}, "image": {"enable_resolution_override": True, "resolution_override": "1024x1024"}}
    flat = verify_backend(concepts(tmp_path, entry))
    assert [path for path, problem in problems(flat) if "folder" in problem] == ["deep/more.png"]
    deep = verify_backend(concepts(tmp_path, entry | {"include_subdirectories": True}))
    assert (sum(flat.pictures.values()), sum(deep.pictures.values())) == (8, 9)


def test_a_train_config_names_its_list_of_concepts(plain, tmp_path):
    (tmp_path / "training_concepts").mkdir()
    (tmp_path / "training_concepts" / "concepts.json").write_text(json.dumps([{"path": str(plain), "image": {}}]))
    (tmp_path / "presets").mkdir()
    config = tmp_path / "presets" / "config.json"
    config.write_text(json.dumps({"concept_file_name": "training_concepts/concepts.json", "resolution": "1024"}))
    assert len(verify_backend(config).faults) == 2
    config.write_text(json.dumps({"concept_file_name": "elsewhere.json"}))
    with pytest.raises(DatakitError, match=r"concept_file_name 'elsewhere\.json' is not there"):
        verify_backend(config)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"path": 3}]', "\x00"])
def test_files_that_are_no_concepts_are_refused(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DatakitError):
        verify_backend(file, trainer="onetrainer")


def test_masks_are_no_pictures_and_said(make_dataset, tmp_path):
    folder = make_dataset("masked", buckets=BUCKETS[:1])
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    draw(folder / "p00-masklabel.png", Size(1024, 1024), 1)
    verdict = verify_backend(concepts(tmp_path, one_a_size(folder)))
    assert verdict.faults == []
    assert any("1 of 1 picture with a -masklabel (masked_training must be on" in note for note in verdict.notes)


# Two pictures of each of eight sizes.
@pytest.mark.parametrize(("batch", "gpus", "steps", "dropped"), [(1, 1, 16, 0), (2, 1, 8, 0), (3, 1, 0, 16), (1, 2, 8, 0)])
def test_an_epoch_leaves_out_what_fills_no_batch(make_dataset, batch, gpus, steps, dropped):
    concept = read_concept(make_dataset(buckets=[*BUCKETS, *BUCKETS]))
    epoch = trainer("onetrainer").steps([concept], Batching(batch, gpus))
    assert epoch.real_steps == epoch.planned_steps == steps
    assert sum(load.dropped for load in epoch.loads) == dropped
    assert all(load.never == load.too_small == (dropped > 0) for load in epoch.loads)


def test_sizes_are_batched_over_all_datasets(make_dataset):
    both = [
        read_concept(make_dataset("person", buckets=BUCKETS[:2]), repeats=3),
        read_concept(make_dataset("style", buckets=BUCKETS[:1])),
    ]
    epoch = trainer("onetrainer").steps(both, Batching(2, 1, 3))
    rows = [(load.concept, load.pictures, load.passes, load.real, load.dropped, load.never, load.padded) for load in epoch.loads]
    # Shown differently often, they are counted by their samples.
    assert rows == [("person + style", 4, 1, 2, 0, False, 0), ("person", 1, 3, 1, 1, False, 0)]
    assert all(isinstance(load.pictures, int) for load in epoch.loads)
    assert (epoch.planned_steps, epoch.real_steps, epoch.notes) == (1, 1, ())
    over = trainer("onetrainer").steps(both, Batching(2, 1, 2))
    assert (over.planned_steps, over.real_steps) == (2, 2)
    assert "3 micro-batches are 1.50 optimizer steps" in over.notes[0]


@pytest.mark.parametrize(("case", "weights", "variations"), [("cropped", {1.0}, {1}), ("copies", {1.0}, {1}), ("captions-only", {5.0}, {5}), ("two-concepts", {2.0, 3.0}, {1})])  # fmt: skip
def test_the_four_files_say_what_was_accepted(case, weights, variations):
    entries = json.loads((GOLDEN / f"onetrainer-{case}.json").read_bytes())
    assert {entry["balancing"] for entry in entries} == weights
    assert {entry["text_variations"] for entry in entries} == variations
    assert len({(entry["path"], entry["seed"]) for entry in entries}) == len(entries)
    for entry in entries:
        assert (entry["__version"], entry["enabled"], entry["type"], entry["balancing_strategy"]) == (
            2,
            True,
            "STANDARD",
            "REPEATS",
        )
        assert entry["image"] == {
            "__version": 0,
            "enable_crop_jitter": False,
            "enable_resolution_override": True,
            "resolution_override": entry["name"].rpartition(" ")[2],
        }
        assert entry["text"] == {
            "__version": 0,
            "prompt_source": "sample",
            "enable_tag_shuffling": False,
            "tag_delimiter": ",",
            "keep_tags_count": 1,
        }
