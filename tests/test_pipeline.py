"""The pipeline file: written from the commands that were used, and run, only what changed."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tomllib

import pytest
from PIL import Image

from datakit.cli.init import init
from datakit.cli.pipeline import STAGES, keys_of, stage_command
from tests.commands import invoke, untouched
from tests.conftest import tree

CROP = ["--upscale=3", "--detector=none", "--saliency=none"]
FILE = """
[crop]
source = "src"
output = "out"
upscale = 3
detector = "none"
saliency = "none"

[shuffle]
source = "out"
output = "copies"
repeats = 2
keep = 1

[backend]
datasets = ["copies"]
cache-root = "cache"
output = "multidatabackend.json"
"""


@pytest.fixture
def folder(corpus, tmp_path):
    """A folder with two samples in ``src``."""
    (tmp_path / "src").mkdir()
    for name in ("fig0", "djembe0"):
        shutil.copy(corpus / "src" / f"{name}.jpg", tmp_path / "src")
        shutil.copy(corpus / "src" / f"{name}.txt", tmp_path / "src")
    return tmp_path


def run(folder, *words, status=0):
    ended = invoke(["run", *words], folder)
    assert ended.exit_code == status, ended.output
    return ended


def states(folder, *words, status=0):
    """What becomes of each table."""
    told = json.loads(run(folder, "--json", *words, status=status).stdout)
    return {each["table"]: each["state"] for each in told}


def write(folder, text, name="datakit.toml"):
    (folder / name).write_text(text)


def test_it_does_what_the_commands_do(folder, tmp_path_factory):
    write(folder, FILE)
    run(folder)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder / "src", other / "src")
    for words in (
        ["crop", "src", "out", *CROP],
        ["shuffle", "out", "copies", "--repeats=2", "--keep=1"],
        ["backend", "copies", "--cache-root=cache"],
    ):
        assert invoke(words, other).exit_code == 0
    for made in ("out", "copies"):
        assert tree(folder / made) == tree(other / made)
    written = [json.loads((each / "multidatabackend.json").read_text().replace(str(each), "HERE")) for each in (folder, other)]
    assert written[0] == written[1]


def test_only_what_changed_is_run(folder):
    write(folder, FILE)
    ran, same = dict.fromkeys(["[crop]", "[shuffle]", "[backend]"], "ran"), "up to date"
    assert states(folder) == ran
    assert set(states(folder).values()) == {same}
    (folder / "src" / "fig0.txt").write_text("another, caption, now")
    assert states(folder) == ran
    (folder / "copies" / "fig0_2.jpg").unlink()
    assert states(folder) == {"[crop]": same, "[shuffle]": "ran", "[backend]": "ran"}
    (folder / "multidatabackend.json").unlink()
    assert states(folder) == {"[crop]": same, "[shuffle]": same, "[backend]": "ran"}
    write(folder, FILE.replace("repeats = 2", "repeats = 3"))
    assert states(folder) == {"[crop]": same, "[shuffle]": "ran", "[backend]": "ran"}
    # A touched source makes the same pictures: what follows has nothing to do.
    os.utime(folder / "src" / "fig0.jpg", ns=(1, 1))
    assert states(folder) == {"[crop]": "ran", "[shuffle]": same, "[backend]": same}
    assert states(folder, "--all") == ran


def test_what_options_name_is_read_or_written_too(folder):
    """A file that `env` names is written; the backend's file, which config looks at without being told, is read."""
    config = '[config]\ndatasets = ["copies"]\noutput = "config.json"\nenv = "config.env"\nepochs = 2\n'
    write(folder, FILE + config)
    assert states(folder)["[config]"] == "ran"
    assert set(states(folder).values()) == {"up to date"}
    (folder / "config.env").unlink()
    assert states(folder) == {"[crop]": "up to date", "[shuffle]": "up to date", "[backend]": "up to date", "[config]": "ran"}
    write(folder, f'{FILE}set = ["probability=0.5"]\n{config}')
    assert states(folder) == {"[crop]": "up to date", "[shuffle]": "up to date", "[backend]": "ran", "[config]": "ran"}


def test_a_file_that_may_be_named_instead_of_a_set_is_read(folder):
    (folder / "sizes.txt").write_text("640x960\n960x640\n")
    write(folder, FILE.partition("[shuffle]")[0] + 'sizes = "sizes.txt"\n')
    assert [states(folder), states(folder)] == [{"[crop]": "ran"}, {"[crop]": "up to date"}]
    (folder / "sizes.txt").write_text("704x960\n960x704\n")
    assert states(folder) == {"[crop]": "ran"}


def test_a_dry_run_says_what_would_be_run_and_why_and_changes_nothing(folder):
    write(folder, FILE)
    before = untouched(folder)
    lines = run(folder, "--dry-run").stdout.splitlines()
    assert untouched(folder) == before
    assert lines[0].startswith(
        "would run: datakit crop src out --detector none --saliency none --upscale 3  # `datakit run` has not"
    )
    assert lines[2].startswith("would run: datakit backend copies --cache-root cache --output multidatabackend.json  # ")
    run(folder)
    assert set(states(folder, "--dry-run").values()) == {"up to date"}
    (folder / "src" / "fig0.txt").write_text("another, caption, now")
    said = run(folder, "--dry-run").stdout
    assert "saliency none --upscale 3  # what it reads has changed" in said
    assert said.count("# what it reads may change before") == 2
    write(folder, FILE.replace("keep = 1", "keep = 2\njobs = 1\nstrict = true\nwildcards = false"))
    assert "--keep 2 --jobs 1 --strict  # its options have changed" in run(folder, "--dry-run").stdout


def test_what_left_pictures_out_is_run_again_and_says_so_again(folder):
    write(folder, FILE.replace("upscale = 3\n", "").partition("[backend]")[0])
    (folder / "src" / "small.txt").write_text("a, b")
    shutil.copy(folder / "src" / "fig0.jpg", folder / "src" / "broken.jpg")
    (folder / "src" / "broken.jpg").write_bytes(b"no picture")
    for _ in range(2):
        ended = run(folder, status=1)
        assert "broken.jpg" in ended.output
    assert states(folder, status=1) == {"[crop]": "ran", "[shuffle]": "up to date"}
    assert "# it left something out when it last ran" in run(folder, "--dry-run").stdout


def test_after_a_stage_that_wrote_nothing_none_is_run(folder):
    (folder / "src" / "broken.jpg").write_bytes(b"no picture")
    write(folder, FILE.replace("[shuffle]", "strict = true\n[shuffle]"))
    ended = run(folder, status=1)
    assert "datakit.toml: stopped at [crop], which wrote nothing" in ended.output
    assert not (folder / "copies").exists()


def test_several_concepts_each_have_their_table(folder):
    shutil.copytree(folder / "src", folder / "style")
    crops = [
        f'[[crop]]\nsource = "{name}"\noutput = "made/{name}"\nupscale = 3\ndetector = "none"\nsaliency = "none"\n'
        for name in ("src", "style")
    ]
    backend = '[backend]\ndatasets = ["made/src", "made/style"]\nrepeats = [2, 1]\ncache-root = "cache"\noutput = "b.json"\nid = ["one", "two"]'
    # Stages run in their order, whatever that of the file is.
    write(folder, "\n".join([backend, *crops]))
    assert list(states(folder)) == ["[[crop]] 1", "[[crop]] 2", "[backend]"]
    entries = json.loads((folder / "b.json").read_text())
    assert [entry.get("repeats", 0) for entry in entries[:2]] == [1, 0]
    shutil.rmtree(folder / "made" / "style")
    assert states(folder) == {"[[crop]] 1": "up to date", "[[crop]] 2": "ran", "[backend]": "ran"}


def test_paths_are_relative_to_the_file_and_two_files_do_not_mix(folder):
    write(folder, FILE)
    write(
        folder, FILE.replace('"out"', '"other"').replace('"copies"', '"others"').replace("multidatabackend", "b"), "second.toml"
    )
    (folder / "below").mkdir()
    for name in ("datakit.toml", "second.toml"):
        assert invoke(["run", f"../{name}"], folder / "below").exit_code == 0
    assert (folder / "others").is_dir()
    assert not any((folder / "below").iterdir())
    assert set(states(folder).values()) == set(states(folder, "second.toml").values()) == {"up to date"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("upscale = 3", "upscal = 3", "datakit.toml: [crop] upscal is unknown (is upscale meant?): keys are source, output, sizes, bucket,"),
        ("upscale = 3", 'upscale = "x"', "datakit.toml: [crop] upscale: 'x' is not a valid float"),
        ("upscale = 3", "upscale = true", "datakit.toml: [crop] upscale = True: write a text in quotes, or a number"),
        ("upscale = 3", "upscale = [3]", "datakit.toml: [crop] upscale = [3]: it takes one value, not a list"),
        ("upscale = 3", "quality = 95.0", "datakit.toml: [crop] quality: '95.0' is no whole number from 1 to 100"),
        ('output = "multidatabackend.json"', 'output = "b.json"\n[backend.set]\nprobability = 0.5', "datakit.toml: [backend] set is no table of its own: write set = ['probability=0.5']"),
        ("upscale = 3", "strict = 1", "datakit.toml: [crop] strict = 1: write true or false"),
        ("upscale = 3", "dry-run = true", "datakit.toml: [crop] dry-run is unknown"),
        ("upscale = 3", 'framing = "wide"', "datakit.toml: [crop] framing: 'wide' is not one of 'full', 'portrait', 'face'"),
        ("upscale = 3", 'bucket = ["2x3"]', "datakit.toml: [crop] bucket '2x3' is not one of the sizes"),
        ("keep = 1", "keep = -1", "datakit.toml: [shuffle] keep: -1 is not in the range x>=0"),
        ("[shuffle]", "[shufle]", "datakit.toml: [shufle] is unknown (is shuffle meant?): tables are crop, shuffle, backend, config"),
        ('cache-root = "cache"', "", "datakit.toml: [backend] needs cache-root"),
        ('source = "src"', "", "datakit.toml: [crop] needs source"),
        ('output = "multidatabackend.json"', "", "datakit.toml: [backend] needs output"),
        ('output = "multidatabackend.json"', 'output = "-"', "datakit.toml: [backend] would write to stdout"),
        ('datasets = ["copies"]', "datasets = []", "datakit.toml: [backend] datasets is empty"),
        ('source = "src"', 'source = "gone"', "datakit.toml: [crop] gone does not exist"),
        ("[crop]", "crop = 3\n[shuffle.crop]", "datakit.toml: crop = 3 is no table"),
        ("[crop]", "[crop", "datakit.toml is no TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_file_key_and_what_can(folder, old, new, said):
    assert old in FILE
    write(folder, FILE.replace(old, new, 1))
    ended = run(folder, status=2)
    assert said in ended.output
    assert ended.output.splitlines()[-1].startswith(f"datakit: {said.split()[0]}")
    assert not (folder / "copies").exists()


def test_a_folder_that_is_not_there_is_named_before_anything_runs(folder):
    """Also by a dry run; what a stage before writes need not be there."""
    write(folder, FILE.replace('datasets = ["copies"]', 'datasets = ["copies", "gone"]'))
    for words in ([], ["--dry-run"]):
        said = run(folder, *words, status=2).output
        assert said == "datakit: datakit.toml: [backend] gone does not exist, and no stage before writes it\n"
    assert not (folder / "out").exists()


def test_nothing_to_do_and_no_file_are_said(folder):
    assert "datakit.toml cannot be read" in run(folder, status=2).output
    write(folder, "")
    assert "datakit.toml names no stage" in run(folder, status=2).output


def test_a_value_that_looks_like_an_option_stays_a_value(folder):
    shutil.move(folder / "src", folder / "--strict")
    write(folder, FILE.replace('"src"', '"--strict"').replace("keep = 1", 'suffix = "--keep"').partition("[backend]")[0])
    run(folder)
    assert (folder / "copies" / "fig0_1.txt").read_text().endswith("--keep")


def test_init_writes_down_what_was_done_and_running_that_does_it_again(folder):
    for words in (
        ["crop", "src/", "out", *CROP, "--jobs=1", "--overwrite", "--bucket=1024x1024", "--bucket=832x1216"],
        ["shuffle", "--repeats=2", '--prefix=it\'s "it"', "--captions-only"],
        ["backend", "--cache-root=cache", "--set=probability=0.5", "--json"],
        ["config", "--epochs=3"],
    ):
        ended = invoke(words, folder)
        assert ended.exit_code == 0, ended.output
    before = {name: (folder / name).read_bytes() for name in ("multidatabackend.json", "config.json")}
    assert invoke(["init"], folder).exit_code == 0
    written = tomllib.loads((folder / "datakit.toml").read_text())
    assert written["crop"] == {
        "source": "src/", "output": "out", "bucket": ["1024x1024", "832x1216"], "detector": "none", "saliency": "none", "upscale": 3.0,
    }  # fmt: skip
    assert written["shuffle"] == {
        "source": "out", "output": "out_shuffled", "repeats": 2, "prefix": "it's \"it\"", "captions-only": True,
    }  # fmt: skip
    assert written["backend"] == {
        "datasets": ["out_shuffled"], "output": "multidatabackend.json", "cache-root": "cache", "set": ["probability=0.5"],
    }  # fmt: skip
    assert written["config"] == {"datasets": ["out_shuffled"], "output": "config.json", "epochs": 3.0}
    was = tree(folder / "out_shuffled")
    for made in ("out", "out_shuffled"):
        shutil.rmtree(folder / made)
    invoke(["run"], folder)
    assert tree(folder / "out_shuffled") == was
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_what_stands_there_as_a_comment_can_be_taken_in(folder):
    """Every option of the commands stands in the file, set or as a comment whose key is the option's."""
    assert invoke(["init"], folder).exit_code == 0
    text = (folder / "datakit.toml").read_text()
    tables = {part.partition("]")[0]: part for part in text.split("\n[")[1:]}
    assert list(tables) == ["crop", "shuffle", "backend"]
    for stage, part in tables.items():
        lines = [line.removeprefix("# ") for line in part.splitlines()[1:] if " = " in line]
        keys = list(tomllib.loads("\n".join(lines)))
        assert sorted(keys) == sorted(keys_of(stage_command(stage)))
    assert max(map(len, text.splitlines())) <= 130
    assert "# crop-captions = 'keep'    # keep, distance, trim: What closer crops do" in text
    for line in ("strict = true", "detector = 'auto'", "sizes = 'sdxl'", "fill-batches = 2", "crop-captions = 'keep'"):
        assert f"\n# {line} " in text


def test_init_names_every_concept_and_the_last_options_of_each(folder):
    for upscale, name in ((2.5, "a/"), (3, "b"), (3, "./a")):
        assert invoke(["crop", "src", name, *CROP, f"--upscale={upscale}"], folder).exit_code == 0
    shutil.rmtree(folder / "b")
    assert invoke(["crop", "src", "c", *CROP], folder).exit_code == 0
    assert invoke(["init"], folder).exit_code == 0
    crops = tomllib.loads((folder / "datakit.toml").read_text())["crop"]
    assert [(crop["output"], crop["upscale"]) for crop in crops] == [("./a", 3.0), ("c", 3.0)]


def test_a_file_that_was_edited_is_not_replaced(folder):
    assert invoke(["init"], folder).exit_code == 0
    assert invoke(["init"], folder).exit_code == 0
    write(folder, FILE)
    ended = invoke(["init"], folder)
    assert (ended.exit_code, "edited since" in ended.output, (folder / "datakit.toml").read_text()) == (2, True, FILE)
    assert invoke(["init", "--overwrite"], folder).exit_code == 0


def test_a_picture_that_lies_about_is_no_reason_to_refuse(folder):
    assert invoke(["crop", "src", "out", *CROP], folder).exit_code == 0
    shutil.copy(folder / "src" / "fig0.jpg", folder / "sheet.jpg")
    assert invoke(["init"], folder).exit_code == 0
    for name in ("src", "out"):
        (folder / name / "below").mkdir()
        for place in (folder / name, folder / name / "below"):
            ended = invoke(["init", "--overwrite"], place)
            assert (ended.exit_code, "which holds pictures: run `datakit init` beside" in ended.output) == (2, True)
    (folder / "new").mkdir()
    (folder / "new" / "photo.jpg").touch()
    assert invoke(["init"], folder / "new").exit_code == 0


def test_no_file_is_written_among_pictures(folder):
    before = untouched(folder / "src")
    ended = invoke(["init"], folder / "src")
    assert ended.exit_code == 2
    assert "would lie among pictures (djembe0.jpg)" in ended.output
    assert untouched(folder / "src") == before


def test_no_option_stands_in_a_table_of_its_own():
    """The keys come from the commands: there is no other list of them."""
    for stage in STAGES:
        command = stage_command(stage)
        shown = {each.opts[-1] for each in command.params} - {f"--{key}" for key in keys_of(command)} - set(keys_of(command))
        assert shown <= {"--json", "--verbose", "--dry-run", "--plan"}
    assert {each.name for each in init.params} == {"overwrite"}


def test_options_of_companions_and_crops_come_back_as_they_were_typed(folder):
    for name in ("fig0", "djembe0"):
        with Image.open(folder / "src" / f"{name}.jpg") as picture:
            Image.new("L", picture.size, 200).save(folder / "src" / f"{name}-m.png")
    typed = ["--companion=mask={stem}-m.png", "--companions=auto", "--crops=full,main"]
    assert invoke(["crop", "src", "out", *CROP, *typed], folder).exit_code == 0
    made = tree(folder / "out")
    assert invoke(["init"], folder).exit_code == 0
    table = tomllib.loads((folder / "datakit.toml").read_text())["crop"]
    assert (table["companion"], table["companions"], table["crops"]) == (["mask={stem}-m.png"], "auto", "full,main")
    assert states(folder) == {"[crop]": "ran"}
    assert tree(folder / "out") == made


def test_shards_are_looked_at_each_time(folder):
    pytest.importorskip("pyarrow", reason="a dataset in shards needs the extra parquet")
    (folder / "raw").mkdir()
    with tarfile.open(folder / "raw" / "0.tar", "w") as tar:
        tar.add(folder / "src", "src")
    crop = FILE[: FILE.index("[shuffle]")].replace('"src"', '"raw/*.tar"').replace('"out"', '"shards"')
    write(folder, f'{crop}format = "jpg"\n')
    assert states(folder) == states(folder) == {"[crop]": "ran"}
    assert (folder / "shards" / "dataset.json").exists()
    assert "cannot be seen from here" in run(folder, "--dry-run").stdout


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("crop", "crops = 'foul'", "[crop] crops 'foul': name each once, of full,"),
        ("crop", "companion = ['x']", "[crop] "),
        ("crop", "bucket = ['13x13']", "[crop] bucket '13x13' is not one of the sizes"),
        ("crop", "background = 'nocolour'", "[crop] "),
        ("crop", "sizes = 'nofile'", "[crop] "),
        ("crop", "upscale = nan", "[crop] upscale nan is no factor of at least 1"),
        ("crop", "upscale = -1", "[crop] upscale -1.0 is no factor of at least 1"),
        ("shuffle", "augment = 'foo'", "[shuffle] "),
        ("backend", "model-family = 'nope'", "[backend] model family 'nope' is not known: use one of"),
        ("backend", "set = ['nope']", "[backend] --set 'nope': write key=value"),
        ("backend", "trainer = 'kohya'\nset = ['probability=0.5']", "takes no --set probability=0.5"),
        ("config", "preset = 'bad'", "[config] preset 'bad' is not known: use one of"),
        ("config", "set = ['nope=1']", "[config] --set nope: no option of SimpleTuner"),
        ("crop", "output = 'src/out'", "[crop] src/out lies inside the source folder src"),
        ("crop", "output = 'src'", "[crop] src is the source folder itself"),
        ("shuffle", "output = 'out/copies'", "[shuffle] out/copies lies inside the source folder out"),
    ],
)
def test_values_are_checked_before_anything_is_run(folder, table, line, said):
    lines = f'{FILE}[config]\ndatasets = ["copies"]\noutput = "config.json"\n'.splitlines()
    key = line.partition(" =")[0]
    start = lines.index(f"[{table}]") + 1
    end = next((number for number in range(start, len(lines)) if lines[number].startswith("[")), len(lines))
    kept = [each for each in lines[start:end] if each.partition(" =")[0] != key]
    write(folder, "\n".join([*lines[:start], line, *kept, *lines[end:]]))
    before = untouched(folder)
    for words in (["--dry-run"], []):
        ended = run(folder, *words, status=2)
        assert said in ended.output
        assert not ended.stdout
    assert untouched(folder) == before


def test_two_tables_that_cross_are_refused_with_both_named(folder):
    crop = '[[crop]]\nsource = "{}"\noutput = "{}"\ndetector = "none"\nsaliency = "none"\nupscale = 3\n'
    shuffle = '[shuffle]\nsource = "{}"\noutput = "{}"\n'
    for text, said in (
        (crop.format("src", "out") + crop.format("style", "./out/"), "[[crop]] 1 and [[crop]] 2 both write ./out/: name another"),
        (crop.format("out", "more") + crop.format("src", "out"), "[[crop]] 1 reads out, and [[crop]] 2 writes out after that: write"),
        (crop.format("src", "out") + shuffle.format("out", "src/"), "[[crop]] 1 reads src, and [shuffle] writes src/ after that: name"),
        (crop.format("src", "out") + shuffle.format("out", "src/x"), "[[crop]] 1 reads src, and [shuffle] writes src/x after that"),
    ):  # fmt: skip
        write(folder, text)
        before = untouched(folder)
        ended = run(folder, status=2)
        assert f"datakit.toml: {said}" in ended.output
        assert untouched(folder) == before


def test_trainings_that_share_a_folder_stay_apart(folder):
    config = '[[config]]\ndatasets = ["out"]\ninto = "st"\nname = "{}"\n'
    backend = '[backend]\ndatasets = ["out"]\ncache-root = "cache"\noutput = "multidatabackend.json"\n'
    write(folder, FILE.partition("[shuffle]")[0] + backend + config.format("a") + config.format("b"))
    assert set(states(folder).values()) == {"ran"}
    (folder / "st" / "output" / "a").mkdir(parents=True)
    (folder / "st" / "output" / "a" / "checkpoint").write_bytes(b"trained")
    assert set(states(folder).values()) == {"up to date"}


def test_what_a_trainer_leaves_in_its_caches_is_no_change(folder):
    backend = '[[backend]]\ndatasets = ["out"]\ncache-root = "cache"\ntrainer = "{0}"\noutput = "{0}.toml"\n'
    write(folder, FILE.partition("[shuffle]")[0] + backend.format("kohya") + backend.format("diffusion-pipe"))
    assert set(states(folder).values()) == {"ran"}
    (view,) = (each.parent for each in (folder / "cache").glob("*/.datakit") if b"kohya" in (each / "view.json").read_bytes())
    (view / "fig0_sd.npz").write_bytes(b"latents")
    (folder / "cache" / "embeds").mkdir()
    assert set(states(folder).values()) == {"up to date"}
    (view / "fig0.jpg").unlink()
    assert states(folder) == {"[crop]": "up to date", "[[backend]] 1": "ran", "[[backend]] 2": "up to date"}
    assert (view / "fig0.jpg").exists()


def test_a_stage_that_cannot_start_is_told_in_json_too(folder):
    """What was done before it is told as well."""
    write(folder, FILE.replace('"cache"', '"out/cache"').replace('["copies"]', '["out"]'))
    ended = run(folder, "--json", status=2)
    told = json.loads(ended.stdout)
    assert [each["state"] for each in told] == ["ran", "ran", "not started"]
    assert (told[-1]["table"], told[-1]["exit_code"]) == ("[backend]", 2)
    assert told[-1]["message"] in ended.stderr
    write(folder, FILE.replace("upscale = 3", "upscale = -3"))
    (told,) = json.loads(run(folder, "--json", "--dry-run", status=2).stdout)
    assert told["message"].startswith("datakit.toml: [crop] upscale -3.0 is no factor")


@pytest.mark.parametrize("trainer", ["simpletuner", "kohya"])
def test_what_names_absolute_paths_is_written_anew_where_the_folder_was_moved(folder, tmp_path_factory, trainer):
    config = '[config]\ndatasets = ["copies"]\noutput = "config.json"\n'
    write(folder, f'{FILE}trainer = "{trainer}"\n{config}')
    run(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    moved = elsewhere / "moved"
    shutil.copytree(folder, moved, copy_function=shutil.copy2)
    shutil.move(folder, elsewhere / "gone")
    same = "up to date"
    assert states(moved) == {"[crop]": same, "[shuffle]": same, "[backend]": "ran", "[config]": "ran"}
    for name in ("multidatabackend.json", "config.json"):
        assert f"{folder}/" not in (moved / name).read_text()
    assert set(states(moved).values()) == {same}
