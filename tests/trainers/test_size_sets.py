"""Sets of sizes beside the eight: what each trainer is written for them, what keeps them, and why some are refused."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit import emit_backend, verify_backend
from datakit.audit.concept import Concept
from datakit.dataset.manifest import Record
from datakit.geometry import Size
from datakit.sizes import SIZE_SETS, parse_sizes, set_around, size_set, square_side
from datakit.trainers import TRAINERS, trainer
from datakit.trainers.diffusers.file import parse, rule_of
from datakit.trainers.diffusionpipe.file import read as read_diffusionpipe
from datakit.trainers.kohya.file import read as read_kohya
from datakit.trainers.kohya.trainer import LEAST_STEPS
from datakit.trainers.making import make_view
from datakit.trainers.musubi.file import read as read_musubi
from datakit.trainers.protocol import BackendOptions
from datakit.trainers.simpletuner.replay import area_of
from tests.trainers import bucket_oracles, size_oracles

# (trainer, family) whose file holds all of a set; scripts of diffusers without buckets train one square.
TRAINING = [(name, None) for name in TRAINERS] + [
    ("kohya", "sd"),
    ("kohya", "lumina"),
    ("musubi", "hidream-o1"),
    ("ai-toolkit", "sdxl"),
]
# No area of SimpleTuner's gives these shapes, as each side is rounded to 64.
REFUSED = {("simpletuner", "sd15")}


def concept(sizes, name="out"):
    """Return a dataset of one picture of each size that lies nowhere."""
    records = tuple(
        Record(
            output=f"{number:02}.png", bucket=size, sizes=" ".join(map(str, sizes)), source=f"{number:02}.jpg", source_sha256="0" * 64,
            output_sha256=hashlib.sha256(f"{name} {size}".encode()).hexdigest(), key="k", version="0", caption=f"{number:02}.txt", caption_sha256=f"{1:064x}",
        )
        for number, size in enumerate(sizes)
    )  # fmt: skip
    return Concept(Path("/data") / name, name, records, 1)


def emitted(name, sizes, family=None):
    return trainer(name).emit([concept(sizes)], Path("/cache"), BackendOptions(name, family))


def test_the_sets_are_of_one_kind():
    for name, sizes in SIZE_SETS.items():
        assert len(set(sizes)) == len(sizes), name
        assert all(side % 64 == 0 for size in sizes for side in size), name
        assert sizes[0].width == sizes[0].height, name
        lying = {size for size in sizes if size.width > size.height}
        # The widest of each set lies across alone; every other is there upright too.
        assert {size.transposed() for size in sizes if size.width < size.height} >= lying - {
            max(lying, key=lambda size: size.aspect)
        }
    for name in ("512", "768", "1536", "2048"):
        assert SIZE_SETS[name][0] == (int(name), int(name))
        for size, shape in zip(SIZE_SETS[name], SIZE_SETS["sdxl"], strict=True):
            assert abs(math.log(size.aspect / shape.aspect)) < 0.15
            assert size.area <= 1.1 * int(name) ** 2


@pytest.mark.parametrize("sizes", SIZE_SETS)
@pytest.mark.parametrize(("name", "family"), TRAINING)
def test_each_set_is_kept_by_what_is_emitted_for_it_or_refused_with_the_reason(name, family, sizes):
    file = emitted(name, size_set(sizes), family)
    if (name, sizes) in REFUSED:
        assert "SimpleTuner makes 640x576, 576x640, 832x448, 448x832 of no area" in file.changed[0]
    else:
        assert file.changed == ()


@pytest.mark.parametrize("sizes", ["512", "sd15", "640x960 960x640 768x768"])
@pytest.mark.parametrize("name", TRAINERS)
def test_pictures_of_a_set_are_emitted_and_proved(name, sizes, make_dataset, tmp_path):
    folder = make_dataset(buckets=size_set(sizes), sizes=sizes)
    emission = emit_backend([folder], tmp_path / "cache", BackendOptions(name))
    assert emission.findings == ()
    if name == "simpletuner" and sizes == "sd15":
        assert emission.content is None
        assert emission.changed
        return
    for view in emission.views:
        make_view(view)
    file = tmp_path / trainer(name).file_name
    file.write_bytes(emission.content)
    verdict = verify_backend(file, trainer=name)
    assert verdict.faults == []
    assert sum(verdict.pictures.values()) == len(size_set(sizes))


# What decides over sizes in a file, held against the oracles: not one line of the replays.


@pytest.mark.parametrize("sizes", SIZE_SETS)
def test_what_is_emitted_keeps_each_set_as_the_oracles_have_it(sizes, tmp_path):
    listed = size_set(sizes)
    for size in listed:
        assert size_oracles.onetrainer(size, str(size), 64) == ({size}, {size})
    (dataset,) = yaml.safe_load(emitted("ai-toolkit", listed).content)["config"]["process"][0]["datasets"]
    (resolution,) = dataset["resolution"]
    for size in listed:
        scaled, cut = size_oracles.aitoolkit(size, resolution, 32)
        assert (size in scaled, cut) == (True, {size})
    (command,) = parse(emitted("diffusers", listed).content.decode())
    buckets = [tuple(bucket) for bucket in rule_of(command).buckets]
    assert all(bucket_oracles.diffusers_listed(size, buckets) == (size, size) for size in listed)
    path = tmp_path / "diffusion-pipe.toml"
    path.write_bytes(emitted("diffusion-pipe", listed).content)
    (directory,) = read_diffusionpipe(path)
    narrow_to_wide = [bucket[:2] for bucket in directory.rule.listed]
    assert all(bucket_oracles.diffusionpipe_sizes(size, narrow_to_wide) == size for size in listed)


def area_is_kept(size, area, step):
    """kohya and musubi: what is no larger than the area is cut down to whole steps, and so stays where it is whole in them."""
    return size[0] * size[1] <= area and size[0] % step == size[1] % step == 0


def simpletuner_target(size, megapixels):
    """The target of an area, in whole numbers: both sides to the nearest 64, of an aspect rounded to two decimals."""
    aspect = Fraction(str(round(size[0] / size[1], 2)))
    side = nearest_64(Fraction(math.isqrt(int(Fraction(str(megapixels)) * 10**6))))
    if aspect == 1:
        squares = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}
        near = [edge for value, edge in squares.items() if abs(megapixels - value) < 0.05]
        return (near or [nearest_64(Fraction(math.isqrt(int(Fraction(str(megapixels)) * 10**6))))])[0:1] * 2
    return [nearest_64(root(side * side * aspect)), nearest_64(root(side * side / aspect))]


def root(value):
    """A root to a thousandth, which no half of 64 is as near to here."""
    return Fraction(math.isqrt(int(value * 10**6)), 1000)


def nearest_64(value):
    return max(64, round(value / 64) * 64)


STEPS = st.sampled_from((8, 16, 32, 64))


@st.composite
def sets(draw):
    step = draw(STEPS)
    side = st.integers(256 // step, 2048 // step).map(lambda number: number * step)
    return draw(st.lists(st.builds(Size, side, side), min_size=1, max_size=5, unique=True))


@settings(max_examples=40)
@given(sets(), st.sampled_from(list(LEAST_STEPS)))
def test_kohya_refuses_what_is_not_whole_in_the_steps_of_its_script_and_nothing_else(tmp_path_factory, sizes, family):
    file = emitted("kohya", sizes, family)
    path = tmp_path_factory.mktemp("k") / "kohya.toml"
    path.write_bytes(file.content)
    (subset,) = read_kohya(path)
    assert subset.faults == ()
    rule = subset.bucketing
    assert rule.bucket_reso_steps % LEAST_STEPS[family] == 0
    assert len(file.changed) == sum(not area_is_kept(size, rule.resolution.area, rule.bucket_reso_steps) for size in sizes)
    whole = all(side % LEAST_STEPS[family] == 0 for size in sizes for side in size)
    assert (file.changed == ()) == whole
    assert all(f"multiples of {LEAST_STEPS[family]}" in said for said in file.changed)


@settings(max_examples=40)
@given(sets(), st.sampled_from(("z-image", "hidream-o1")))
def test_musubi_refuses_what_is_not_whole_in_its_steps_and_nothing_else(tmp_path_factory, sizes, family):
    file, step = emitted("musubi", sizes, family), 32 if family == "hidream-o1" else 16
    path = tmp_path_factory.mktemp("m") / "musubi.toml"
    path.write_bytes(file.content)
    (dataset,) = read_musubi(path)
    area = dataset.bucketing.resolution.area
    assert len(file.changed) == sum(not area_is_kept(size, area, step) for size in sizes)
    assert (file.changed == ()) == all(side % step == 0 for size in sizes for side in size)


@given(sets(), st.sampled_from(("onetrainer", "ai-toolkit", "diffusion-pipe")))
def test_others_keep_what_is_whole_in_their_steps_and_of_shapes_of_its_own(sizes, name):
    step = {"onetrainer": 64, "ai-toolkit": 32, "diffusion-pipe": 16}[name]
    whole = all(side % step == 0 for size in sizes for side in size)
    apart = len({round(size.width / size.height * 1000) for size in sizes}) == len(sizes)
    assert (emitted(name, sizes).changed == ()) == (whole and (apart or name != "diffusion-pipe"))


@given(sets())
def test_diffusers_keeps_shapes_of_which_each_is_there_once_and_is_whole_in_its_steps(sizes):
    shapes = {Fraction(size.width, size.height) for size in sizes}
    whole = all(side % 16 == 0 for size in sizes for side in size)
    assert (emitted("diffusers", sizes).changed == ()) == (len(shapes) == len(sizes) and whole)


@given(sets())
def test_simpletuner_is_given_an_area_only_where_it_keeps_all(sizes):
    area = area_of(sizes)
    if area is None:
        changed = emitted("simpletuner", sizes).changed
        assert all(": SimpleTuner" in said or ": an entry of SimpleTuner" in said for said in changed)
        assert changed
    else:
        assert all(tuple(simpletuner_target(size, area)) == size for size in sizes)


@given(st.integers(5, 40).map(lambda steps: 64 * steps), st.lists(st.floats(0.4, 2.4), min_size=1, max_size=6))
def test_an_area_is_found_for_what_simpletuner_makes_of_one(side, aspects):
    megapixels = round(side * side / 1e6, 2)
    sizes = [Size(*simpletuner_target((round(1000 * aspect), 1000), megapixels)) for aspect in aspects]
    stable = [size for size in sizes if tuple(simpletuner_target(size, megapixels)) == size]
    assert not stable or area_of(stable) is not None


@pytest.mark.parametrize(
    ("name", "sizes", "reason"),
    [
        ("simpletuner", "608x416", "SimpleTuner trains sides that are multiples of 64"),
        ("simpletuner", "768x384", "SimpleTuner makes 768x384 of no area"),
        ("simpletuner", "1024x1024 512x512", "has one area, and none keeps all of these sizes"),
        ("kohya", "600x400", "its script for sdxl takes sides that are multiples of 32"),
        ("musubi", "600x400", "z-image takes sides that are multiples of 16"),
        ("onetrainer", "608x416", "OneTrainer rounds sides to multiples of 64"),
        ("ai-toolkit", "624x400", "flux takes sides that are multiples of 32"),
        ("diffusion-pipe", "600x400", "it rounds sides to multiples of 16"),
        ("diffusion-pipe", "1024x1024 512x512", "of two sizes of one shape"),
        ("diffusers", "1024x1024 512x512", "of two sizes of one shape it takes the last"),
        (
            "diffusers",
            "1024x1024 648x520",
            "train_dreambooth_lora_flux2.py stops at 648x520: its model takes sides that are multiples of 16",
        ),
    ],
)
def test_a_set_that_a_trainer_cannot_keep_is_refused_with_the_reason(name, sizes, reason):
    assert reason in emitted(name, size_set(sizes)).changed[0]


def test_a_script_without_buckets_names_the_square_of_the_set():
    assert "crop with --bucket 512x512" in emitted("diffusers", size_set("512"), "sdxl").changed[0]
    file = emitted("diffusers", [Size(512, 512)], "sdxl")
    assert file.changed == ()
    assert b"--resolution=512" in file.content
    square = [Size(520, 520)]
    assert emitted("diffusers", square, "sdxl").changed == ()
    assert "stops at 520x520" in emitted("diffusers", square, "flux").changed[0]
    assert "multiples of 32" in emitted("diffusers", square, "sana").changed[0]


# What is to be done about a file that changes sizes says so for these sizes.
@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("kohya", '[[datasets]]\nresolution = 1024\nenable_bucket = true\nbucket_no_upscale = true\ncaption_extension = ".txt"\n[[datasets.subsets]]\nimage_dir = "{folder}"\n', "write resolution = 2048"),
        ("musubi", '[general]\ncaption_extension = ".txt"\n[[datasets]]\nimage_directory = "{folder}"\ncache_directory = "/c"\n', "write resolution = [2048, 2048]"),
        ("diffusion-pipe", "resolutions = [1024]\n[[directory]]\npath = '{folder}'\n", "size_buckets = [[1536, 2688, 1], [1664, 2496, 1]"),
        ("ai-toolkit", '{{"job": "extension", "config": {{"name": "x", "process": [{{"datasets": [{{"folder_path": "{folder}", "resolution": 1024}}]}}]}}}}', "set resolution to 2048"),
        ("simpletuner", '[{{"id": "x", "instance_data_dir": "{folder}", "cache_dir_vae": "/v", "resolution": 1.0, "resolution_type": "area", "crop": true, "crop_aspect": "preserve", "caption_strategy": "textfile"}}]', "write resolution 4.19"),
        ("diffusers", "accelerate launch train_dreambooth_lora_flux2.py --dataset_name={folder} --caption_column=text --use_aspect_ratio_buckets", '--aspect_ratio_buckets="2048,2048;1792,2304'),
    ],
)  # fmt: skip
def test_what_to_do_names_the_sizes_that_are_there(name, content, cure, make_dataset, tmp_path):
    folder = make_dataset(buckets=[Size(2688, 1536), Size(2048, 2048)], sizes="2048")
    file = tmp_path / trainer(name).file_name
    file.write_text(content.format(folder=folder))
    faults = [fault for fault in verify_backend(file, trainer=name).faults if "2688x1536 is" in f"{fault.detail}{fault.problem}"]
    assert faults
    assert all(cure in fault.remedy for fault in faults), faults


def test_the_set_that_sizes_are_of():
    assert set_around([Size(704, 384)]) == size_set("512")
    assert set_around([Size(704, 384), Size(1024, 1024)]) == (Size(1024, 1024), Size(704, 384))
    assert set_around([Size(1024, 683), Size(640, 480)]) == size_set()


def test_the_side_of_a_square_holds_every_size():
    assert square_side(size_set(), 64) == 1024
    assert square_side([Size(512, 512)], 64) == 512
    assert square_side([Size(576, 456)], 64) == 576
    assert square_side([Size(512, 513)], 32) == 544


def test_sizes_in_text():
    assert parse_sizes("# a set\n640x960\n\n960×640 800X800 # square\n800x800\n") == "960x640 640x960 800x800"
    assert parse_sizes(" ".join(map(str, reversed(size_set("768"))))) == "768"
    assert size_set("960x640 640x960") == size_set("640x960 960x640")
