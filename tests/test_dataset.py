from __future__ import annotations

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import CropOptions, crop_folder
from datakit.dataset.folder import find_samples
from datakit.dataset.samples import Sample, fold, output_stems, shared_captions
from datakit.errors import UsageError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(folder):
    return [sample.id for sample in find_samples(folder).samples]


def test_pictures_are_found_in_all_folders_and_any_case(tmp_path):
    touch(tmp_path, "b.jpg", "a.PNG", "sub/deep/c.Jpeg", "d.txt", "e.psd", ".hidden/f.jpg", ".g.jpg", "h.avif", "i.heic")
    assert ids(tmp_path) == ["a.PNG", "b.jpg", "h.avif", "i.heic", "sub/deep/c.Jpeg"]


def test_a_caption_is_txt_else_caption_of_the_same_stem(tmp_path):
    touch(tmp_path, "a.jpg", "a.txt", "a.caption", "b.jpg", "b.caption", "c.jpg", "c.TXT", "d.jpg", "sub/a.jpg")
    found = {sample.id: sample.caption_id for sample in find_samples(tmp_path).samples}
    assert found == {"a.jpg": "a.txt", "b.jpg": "b.caption", "c.jpg": "c.TXT", "d.jpg": None, "sub/a.jpg": None}


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "real/a.jpg", "elsewhere/b.jpg")
    source = tmp_path / "real"
    (source / "out").symlink_to(tmp_path / "elsewhere")
    (source / "up").symlink_to(source)
    (source / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    found = find_samples(source)
    assert [sample.id for sample in found.samples] == ["a.jpg", "out/b.jpg"]
    assert dict(found.refused) == {"up": "link leads back to a folder that encloses it", "gone.jpg": "link leads nowhere"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems make names Unicode")
def test_a_name_that_is_no_unicode_is_refused_by_name(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(b"x")
    found = find_samples(tmp_path)
    assert found.samples == ()
    assert found.refused[0][1] == "name is not valid UTF-8: rename the file"


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        find_samples(tmp_path / "no")
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="not a folder"):
        find_samples(tmp_path / "a.jpg")


def samples(*names):
    return [Sample(name, None) for name in names]


def test_captions_without_a_picture_and_other_files_are_counted(tmp_path):
    for name in ("fig.jpg", "fgi.txt", "a/b.png", "a/b.txt", "a/raw.CR2", "b.cr2", "notes", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_samples(tmp_path)
    assert found.strays == ("fgi.txt",)
    assert found.others == {".cr2": 2, "": 1}


def test_equal_stems_get_their_extension():
    assert output_stems(samples("a.jpg", "a.png", "b.jpg")) == {"a.jpg": "a_jpg", "a.png": "a_png", "b.jpg": "b"}


def test_names_equal_but_for_case_are_numbered_and_never_take_a_taken_name():
    stems = output_stems(samples("A.jpg", "a.jpg", "a_jpg.png", "sub/a.jpg"))
    assert stems == {"A.jpg": "A_jpg_2", "a.jpg": "a_jpg_3", "a_jpg.png": "a_jpg", "sub/a.jpg": "sub/a"}


names = st.lists(
    st.builds(
        "{}{}.{}".format,
        st.sampled_from(["", "s/"]),
        st.sampled_from(["a", "A", "a_jpg", "a_jpg_2", "é", "e\u0301"]),
        st.sampled_from(["jpg", "JPG", "png"]),
    ),
    unique=True,
)


@given(names)
def test_no_two_samples_ever_get_one_name(chosen):
    stems = output_stems(samples(*chosen))
    assert len({fold(stem) for stem in stems.values()}) == len(chosen)


@given(names, st.randoms())
def test_names_do_not_depend_on_the_order_of_listing(chosen, random):
    shuffled = list(chosen)
    random.shuffle(shuffled)
    assert output_stems(samples(*chosen)) == output_stems(samples(*shuffled))


def test_pictures_with_one_caption_between_them_are_told(tmp_path):
    for name in ("a.jpg", "a.png", "a.txt", "b.jpg", "b.txt", "c.jpg", "c.webp"):
        (tmp_path / name).touch()
    assert shared_captions(find_samples(tmp_path).samples) == ["a.jpg", "a.png"]
    report = crop_folder(tmp_path, tmp_path.with_name("out"), CropOptions(detector="none", saliency="none"))
    assert "2 pictures share a caption file with another and get the same caption: a.jpg, a.png" in report.notes
