"""What people reported of other tools' captions, one test a report: as they write them, through crop and shuffle."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from datakit.caption.tokens import split
from tests.commands import invoke, said

CROP = "crop src out --detector none --saliency none"
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A source of the files named: bytes, text, or None for a picture."""

    def make(files: dict[str, str | bytes | None]) -> Path:
        for number, (name, content) in enumerate(files.items()):
            path = tmp_path / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                Image.new("RGB", (832, 1216), (20 * number % 256, 90, 40)).save(path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return make


def cropped(root: Path, code: int = 0) -> str:
    ended, output = said(CROP, root)
    assert ended == code, output
    return output


def caption(root: Path, name: str = "a", folder: str = "out") -> str:
    return (root / folder / f"{name}.txt").read_text("utf-8")


def copies(root: Path, options: str = "--keep 1", name: str = "a") -> list[list[str]]:
    """The tokens of three copies of a picture."""
    code, output = said(f"shuffle out copies --repeats 3 {options}", root)
    assert code == 0, output
    return [list(split(caption(root, f"{name}_{copy}", "copies"))) for copy in (1, 2, 3)]


def test_a_caption_named_after_the_whole_picture_file(folder):  # stable-diffusion-webui-wd14-tagger#12
    root = folder({"shot.jpg": None, "shot.jpg.txt": "1girl, park"})
    output = cropped(root)
    assert "shot.jpg.txt" in output or caption(root, "shot") == "1girl, park"


def test_one_tag_a_line(folder):  # stable-diffusion-webui#5784, gallery-dl#135
    root = folder({"a.jpg": None, "a.txt": "1girl\nsolo\nlong hair\nblue dress\noutdoors\ncharacter:mary\nrating:safe\n"})
    assert "holds one tag a line" in cropped(root)
    assert said("captions src out --join-lines", root)[0] == 0
    cropped(root)
    assert caption(root) == "1girl, solo, long hair, blue dress, outdoors, character:mary, rating:safe"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # BooruPrompter#30, BooruDatasetTagManager#188
        (
            "ohwx woman, (glasses, eyewear:1.4), red coat, [hat, scarf], street, night",
            ["ohwx woman", "(glasses, eyewear:1.4)", "red coat", "[hat, scarf]", "street", "night"],
        ),
        # stable-diffusion-webui#2984
        (
            "1boy, solo, super smash bros. ultimate, super mario bros., ..., hat, ._., red cap",
            ["1boy", "solo", "super smash bros. ultimate", "super mario bros.", "...", "hat", "._.", "red cap"],
        ),
        # sd-scripts#913
        ("一个女孩，红色头发，绿色眼睛，微笑，公园", ["一个女孩", "红色头发", "绿色眼睛", "微笑", "公园"]),
        ("一人の少女、赤い髪、緑の目、笑顔、公園。", ["一人の少女", "赤い髪", "緑の目", "笑顔", "公園"]),
        # Anima-Standalone-Trainer#66
        (
            "A girl sits on a bench in the park. She reads a small red book. Her dog sleeps., 1girl, bench, park",
            ["A girl sits on a bench in the park", "She reads a small red book", "Her dog sleeps", "1girl", "bench", "park"],
        ),
    ],
)
def test_tokens_move_whole(folder, text, tokens):
    root = folder({"a.jpg": None, "a.txt": text})
    cropped(root)
    first, *others = copies(root)
    assert first == tokens
    assert "".join(caption(root, "a_1", "copies").split()) == "".join(text.split())
    assert len({tuple(each) for each in (first, *others)}) == 3
    for each in others:
        assert each[0] == tokens[0]
        assert sorted(each) == sorted(tokens)


def test_names_that_differ_in_how_their_accents_are_written(folder):  # paperbanana#240
    picture, text = (unicodedata.normalize(form, "café_été") for form in ("NFD", "NFC"))
    root = folder({f"{picture}.jpg": None, f"{text}.txt": "ohwx, cafe"})
    cropped(root)
    assert [path.read_text() for path in (root / "out").glob("*.txt")] == ["ohwx, cafe"]


def test_a_keep_separator_without_its_option_keeps_its_place_and_is_told(folder):  # taggui#385
    root = folder({"a.jpg": None, "a.txt": "ohwx, ohwxhat ||| 1boy, standing, smile"})
    cropped(root)
    code, output = said("shuffle out copies --repeats 3", root)
    assert code == 0
    assert "--keep-separator" in output
    for copy in (1, 2, 3):
        front, back = caption(root, f"a_{copy}", "copies").split("|||")
        assert (set(split(front)), set(split(back))) == ({"ohwx", "ohwxhat"}, {"1boy", "standing", "smile"})
    code, output = said("shuffle out kept --repeats 3 --keep-separator |||", root)
    assert "--keep-separator" not in output
    assert all(caption(root, f"a_{copy}", "kept").startswith("ohwx, ohwxhat, ") for copy in (1, 2, 3))


def test_parts_between_breaks_stay_in_order(folder):
    text = "2girls, park BREAK girl on the left, red hair, green dress BREAK girl on the right, black hair"
    root = folder({"a.jpg": None, "a.txt": text})
    cropped(root)
    assert said("shuffle out copies --repeats 3", root)[0] == 0
    wanted = [set(split(part)) for part in text.split("BREAK")]
    for copy in (1, 2, 3):
        assert [set(split(part)) for part in caption(root, f"a_{copy}", "copies").split("BREAK")] == wanted


def test_a_caption_in_another_case_is_paired_or_named(folder):
    root = folder({"IMG_0001.JPG": None, "img_0001.txt": "ohwx, beach"})
    output = cropped(root)
    written = [path.read_text() for path in (root / "out").glob("*.txt")]
    assert written == ["ohwx, beach"] or "img_0001.txt" in output


def test_captions_of_a_table(folder):  # DiffSynth-Studio#1190, AquaLoRA#8
    rows = [{"file_name": "1.png", "text": "ohwx, beach"}, {"file_name": "2.png", "text": "ohwx, hill"}]
    root = folder({"1.png": None, "2.png": None, "metadata.jsonl": "\n".join(map(json.dumps, rows))})
    assert "2 captions from metadata.jsonl (text)" in cropped(root)
    assert (caption(root, "1"), caption(root, "2")) == ("ohwx, beach", "ohwx, hill")


def test_captions_of_json_beside_pictures(folder):  # qapyq#9
    root = folder({"a.jpg": None, "a.json": '{"caption": "a red house", "tags": ["house", "red"]}'})
    assert "1 caption from .json files (caption)" in cropped(root)
    assert caption(root) == "a red house"


def test_the_prompt_inside_a_picture(tmp_path):
    (tmp_path / "src").mkdir()
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "ohwx, castle\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a")
    Image.new("RGB", (832, 1216)).save(tmp_path / "src" / "a.png", pnginfo=chunks)
    assert "1 caption from PNG text parameters in pictures" in cropped(tmp_path)
    assert caption(tmp_path) == "ohwx, castle"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("一个女孩, 红色头发, 绿色眼睛, 公园", "gbk"), ("девушка, рыжие волосы, парк", "cp1251"), ("少女, 赤い髪, 緑の目", "cp932")],
)  # PyTorch-YOLOv3#374, recognize-anything#21
def test_captions_of_other_code_pages_are_read_and_told(folder, text, encoding):
    root = folder({"a.jpg": None, "a.txt": text.encode(encoding)})
    assert "is not UTF-8: read as" in cropped(root)
    assert caption(root) == text


def test_a_caption_cut_inside_a_sign_is_refused_by_name(folder):
    root = folder({"a.jpg": None, "a.txt": "ohwx, café, 東京タワー".encode()[:-1]})
    assert "caption a.txt is not UTF-8" in cropped(root, code=1)


@pytest.mark.parametrize(
    ("text", "separator", "tokens"),
    [
        # gallery-dl#9723, sd-scripts#913
        ("1girl solo long_hair blue_dress standing", " ", {"1girl", "solo", "long_hair", "blue_dress", "standing"}),
        ("ohwx; red hair; green eyes; park", ";", {"ohwx", "red hair", "green eyes", "park"}),
        ("ohwx | red hair | green eyes | park", "|", {"ohwx", "red hair", "green eyes", "park"}),
    ],
)
def test_other_separators_are_told_and_taken(folder, text, separator, tokens):
    root = folder({"a.jpg": None, "a.txt": text})
    cropped(root)
    assert "--separator" in said("shuffle out hinted --repeats 2", root)[1]
    assert invoke(["shuffle", "out", "copies", "--repeats", "3", "--separator", separator], root).exit_code == 0
    written = [caption(root, f"a_{copy}", "copies") for copy in (1, 2, 3)]
    assert len(set(written)) == 3
    for each in written:
        assert {piece.strip() for piece in each.split(separator)} == tokens


def test_a_trigger_that_is_there_is_not_put_in_again(folder):  # AnimaLoraStudio#103
    root = folder({"a.jpg": None, "a.txt": "Ohwx_Woman, park, red coat", "b.jpg": None, "b.txt": "red car, park, night"})
    cropped(root)
    assert invoke(["shuffle", "out", "copies", "--repeats", "3", "--keep", "1", "--prefix", "ohwx woman"], root).exit_code == 0
    for copy in (1, 2, 3):
        assert caption(root, f"a_{copy}", "copies").lower().replace("_", " ").count("ohwx woman") == 1
        assert caption(root, f"b_{copy}", "copies").startswith("ohwx woman, ")


def test_a_text_file_goes_before_other_captions(folder):  # BooruDatasetTagManager#91
    root = folder({"a.jpg": None, "a.txt": "1girl, solo", "a.caption": "A photo of a girl."})
    cropped(root)
    assert caption(root) == "1girl, solo"


def test_repeats_in_the_names_of_folders_are_taken(folder):  # kohya_ss#2038
    root = folder({"3_ohwx woman/a.jpg": None, "3_ohwx woman/a.txt": "a, b, c", "1_woman/b.jpg": None, "1_woman/b.txt": "a, b"})
    cropped(root)
    assert said("shuffle out copies --repeats-from-folders", root)[0] == 0
    assert len(list((root / "copies" / "3_ohwx woman").glob("*.jpg"))) == 3
    assert len(list((root / "copies" / "1_woman").glob("*.jpg"))) == 1
