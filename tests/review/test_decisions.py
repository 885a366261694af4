"""What a person decided: the file, and what crop makes of it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import suppress
from itertools import count

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from datakit import CropOptions, Execution, crop_folder, plan_folder
from datakit.audit.freshness import behind
from datakit.audit.mend import mend_captions
from datakit.dataset.decisions import ChangedMeanwhileError, Decision, change_decision, read_decisions
from datakit.dataset.layout import DECISIONS
from datakit.dataset.manifest import read_manifest, to_line, write_atomically
from datakit.dataset.store import Store
from datakit.errors import PlanError
from datakit.geometry import Box
from tests.conftest import BUCKETS, tree

UPSCALE = CropOptions(upscale=1.5)
BOX = [0, 0, 1024, 1024]
WINDOW = {"box": BOX, "bucket": [1024, 1024]}


def records(folder):
    return {record.source: record for record in read_manifest(folder)}


def texts(folder):
    found = {}
    for row in map(json.loads, (folder / "metadata.jsonl").read_text().splitlines()):
        found.setdefault(row["file_name"], []).append(row["text"])
    return {name: "\n".join(captions) for name, captions in found.items()}


def write(folder, **decisions):
    """Write decisions; a name stands for its .jpg."""
    lines = [json.dumps({"source": f"{name}.jpg", **what}) for name, what in decisions.items()]
    (folder / DECISIONS).write_text("".join(f"{line}\n" for line in lines))


def apply(source, out, options=UPSCALE, **decisions):
    if decisions:
        write(out, **decisions)
    return crop_folder(source, out, options)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), float)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no decision"),
        ('{"source": "a.jpg", "crop": "fase"}', "(a crop is full, portrait, face, main, detail)"),
        ('{"source": "../a.jpg"}', "not a path inside the source folder"),
        ('{"source": "/etc/passwd"}', "not a path inside the source folder"),
        ('{"source": "a.jpg", "box": [0, 0, 8, 8]}', "box and bucket belong together"),
        ('{"source": "a.jpg", "box": [0, 0, 8, 8], "bucket": [8, 8]}', "'8x8' is not one of the sizes of sdxl"),
        ('{"source": "a.jpg", "box": [0, 0, 8.5, 8], "bucket": [1024, 1024]}', "no decision"),
        ('{"source": "a.jpg", "caption": "  \\n"}', "the caption is empty"),
        ('{"source": "a.jpg", "caption": "\\u0000"}', "zero bytes"),
        ('{"source": "ok.jpg"}', "has a line already"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path, line, message):
    (tmp_path / DECISIONS).write_text(f'{{"source": "ok.jpg", "accepted": true}}\n\n{line}\n')
    with pytest.raises(PlanError, match=f"{DECISIONS}, line 3: .*") as caught:
        read_decisions(tmp_path)
    assert message in str(caught.value)


names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\\\x00"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
made = st.builds(
    lambda decided, **rest: Decision(rejected=decided is False, accepted=decided is True, **rest),
    decided=st.none() | st.booleans(),
    source=names,
    caption=st.none() | st.just("one, two\nthree"),
    box=st.just(Box(0, 0, 9, 9)),
    bucket=st.sampled_from(BUCKETS),
)


@given(st.lists(made, unique_by=lambda each: each.source, max_size=5))
def test_what_is_changed_is_read_again_with_the_next_revision(tmp_path_factory, decisions):
    folder = tmp_path_factory.mktemp("dataset")
    for decision in decisions:
        before = change_decision(folder, decision.source, 0, lambda current: current)
        assert before.empty
        after = change_decision(folder, decision.source, 1, lambda _, wanted=decision: wanted)
        assert after == msgspec.structs.replace(decision, revision=2)
    assert read_decisions(folder) == {each.source: msgspec.structs.replace(each, revision=2) for each in decisions}


def test_a_change_from_an_old_revision_is_refused_and_loses_nothing(tmp_path):
    first = change_decision(tmp_path, "a.jpg", 0, lambda _: Decision(source="a.jpg", rejected=True))
    with pytest.raises(ChangedMeanwhileError) as caught:
        change_decision(tmp_path, "a.jpg", 0, lambda _: Decision(source="a.jpg", accepted=True))
    assert caught.value.current == first
    undone = change_decision(tmp_path, "a.jpg", 1, lambda _: Decision(source="a.jpg"))
    assert undone.empty
    assert undone.revision == 2  # it counts on: the first page's state cannot come back


def test_changes_from_many_sides_at_once_are_all_kept(tmp_path):
    threads = [
        threading.Thread(
            target=change_decision, args=(tmp_path, f"{n}.jpg", 0, lambda _, n=n: Decision(source="", caption=str(n)))
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {source: each.caption for source, each in read_decisions(tmp_path).items()} == {f"{n}.jpg": str(n) for n in range(12)}


def test_a_drawn_window_is_what_is_written(source, out):
    report = apply(source, out, fig=WINDOW)
    assert (report.done, report.skipped) == (1, 3)
    record = records(out)["fig.jpg"]
    assert (record.anchor, record.box, record.bucket) == ("manual", tuple(BOX), (1024, 1024))
    wanted = pixels(source / "fig.jpg")[:1024, :1024]
    assert np.abs(pixels(out / "fig.jpg") - wanted).mean() < 3  # what JPEG costs
    before = tree(out)
    again = apply(source, out)
    assert (again.done, again.skipped, tree(out)) == (0, 4, before)


def test_every_run_follows_what_was_decided_and_a_second_one_has_nothing_to_do(source, out):
    report = apply(source, out, fig=WINDOW, dogs={"rejected": True}, mountains={"caption": "a new one"})
    assert report.notes == ["2 pictures as decided in decisions.jsonl"]
    before = tree(out)
    report = crop_folder(source, out, UPSCALE)
    assert tree(out) == before
    assert (report.done, report.rejected, report.refused) == (0, ["dogs.jpg"], [])
    write(out, dandelion={"rejected": True}, mountains={"caption": "another"}, fig={"accepted": True, **WINDOW})
    report = crop_folder(source, out, UPSCALE)
    assert (report.done, report.rejected) == (2, ["dandelion.jpg"])
    assert not (out / "dandelion.jpg").exists()
    assert (out / "dogs.jpg").exists()
    assert (out / "mountains.txt").read_text() == "another"


def test_a_run_killed_at_any_moment_is_made_good_by_the_next(source, out, monkeypatch):
    wanted = {"fig": WINDOW | {"caption": "half"}, "mountains": {"caption": "a new one"}, "dogs": {"rejected": True}}
    whole = out.with_name("whole")
    shutil.copytree(out, whole)
    apply(source, whole, **wanted)
    steps = count()

    def counted(function, fatal):
        def called(*arguments, **named):
            if next(steps) == fatal:
                raise KeyboardInterrupt
            return function(*arguments, **named)

        return called

    for fatal in range(12):
        attempt = out.with_name(f"attempt{fatal}")
        shutil.copytree(out, attempt)
        steps = count()
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", counted(os.replace, fatal))
            patch.setattr("datakit.dataset.store.Store.forget", counted(Store.forget, fatal))
            with suppress(KeyboardInterrupt):
                apply(source, attempt, **wanted)
        apply(source, attempt)
        assert tree(attempt) == tree(whole), fatal
        write(attempt, fig={"revision": 2}, mountains={"revision": 2}, dogs={"revision": 2})
        apply(source, attempt)
        assert {name: content for name, content in tree(attempt).items() if name != DECISIONS} == tree(out)


def test_a_rejected_picture_leaves_the_dataset_and_can_come_back(source, out):
    before = tree(out)
    report = apply(source, out, dogs={"rejected": True})
    assert (report.rejected, report.refused, report.exit_code) == (["dogs.jpg"], [], 0)
    assert not (out / "dogs.jpg").exists()
    assert not (out / "dogs.txt").exists()
    assert "dogs.jpg" not in records(out)
    assert "dogs.jpg" not in texts(out)
    assert (source / "dogs.jpg").exists()
    apply(source, out, dogs={"revision": 2})
    assert {name: content for name, content in tree(out).items() if name != DECISIONS} == before


def test_files_of_a_rejected_picture_that_somebody_edited_are_left_and_named(source, out):
    (out / "dogs.txt").write_text("my own words")
    report = apply(source, out, dogs={"rejected": True})
    assert not (out / "dogs.jpg").exists()
    assert (out / "dogs.txt").read_text() == "my own words"
    assert "dogs.txt was rejected, but edited since datakit wrote it: left there" in report.notes


def test_of_a_rejected_picture_only_the_review_s_own_caption_is_deleted(source, out):
    (out / "dogs.txt").write_text("my own words")
    mend_captions(out)  # takes the edit into the manifest
    apply(source, out, fig={"caption": "from the review"})
    apply(source, out, fig={"caption": "from the review", "rejected": True}, dogs={"rejected": True})
    assert (out / "dogs.txt").read_text() == "my own words"
    assert not (out / "fig.txt").exists()


def test_a_rejected_picture_goes_whatever_format_it_was_written_in(source, out):
    write(out, dogs={"rejected": True})
    apply(source, out, CropOptions(upscale=1.5, format="png"))
    assert not {name for name in tree(out) if name.startswith("dogs")}


def test_a_caption_is_written_where_trainers_and_later_runs_find_it(source, out):
    picture = (out / "fig.jpg").read_bytes()
    apply(source, out, fig={"caption": " half a fig\r\n\r\nfruit, red "})
    assert (out / "fig.txt").read_text() == "half a fig\nfruit, red"
    assert (out / "fig.jpg").read_bytes() == picture
    record = records(out)["fig.jpg"]
    assert (record.caption_edited, record.captions) == (False, 2)
    assert texts(out)["fig.jpg"] == "half a fig\nfruit, red"
    (source / "fig.txt").write_text("the source says something else")
    crop_folder(source, out, UPSCALE)
    assert (out / "fig.txt").read_text() == "half a fig\nfruit, red"


def test_a_caption_and_a_window_of_one_picture_are_both_applied(source, out):
    report = apply(source, out, fig={"caption": "new", **WINDOW})
    assert (out / "fig.txt").read_text() == "new"
    record = records(out)["fig.jpg"]
    assert record.anchor == "manual"
    assert report.notes == ["1 picture as decided in decisions.jsonl"]


def test_a_caption_taken_back_becomes_the_source_s_again(source, out):
    before = tree(out)
    apply(source, out, fig={"caption": "new"})
    apply(source, out, fig={"revision": 2})
    assert {name: content for name, content in tree(out).items() if name != DECISIONS} == before


def test_a_window_taken_back_is_decided_by_crop_again(source, out):
    before = tree(out)
    apply(source, out, fig=WINDOW)
    apply(source, out, fig={"revision": 2})
    assert {name: content for name, content in tree(out).items() if name != DECISIONS} == before


def test_a_caption_edited_in_the_dataset_after_the_review_is_left_alone(source, out):
    write(out, fig={"caption": "from the review", "caption_before": (out / "fig.txt").read_text()})
    (out / "fig.txt").write_text("by hand, later")
    report = apply(source, out)
    assert (out / "fig.txt").read_text() == "by hand, later"
    assert any("fig.txt was edited after that" in note for note in report.notes)
    write(out, fig={"caption": "from the review", "caption_before": "by hand, later"})
    apply(source, out)
    assert (out / "fig.txt").read_text() == "from the review"
    (out / "fig.txt").write_text("by hand, after it was applied")
    apply(source, out)
    assert (out / "fig.txt").read_text() == "by hand, after it was applied"


def test_a_picture_without_a_caption_gets_one(source, tmp_path):
    (source / "fig.txt").unlink()
    out = tmp_path / "out"
    crop_folder(source, out, UPSCALE)
    apply(source, out, fig={"caption": "now it has one"})
    assert (out / "fig.txt").read_text() == "now it has one"
    assert records(out)["fig.jpg"].warnings == ()
    apply(source, out, fig={"revision": 2})
    assert not (out / "fig.txt").exists()


def test_a_caption_mends_a_picture_that_was_refused_for_want_of_one(source, tmp_path):
    (source / "fig.txt").unlink()
    out, options = tmp_path / "out", CropOptions(upscale=1.5, captions="required")
    assert [problem.source for problem in crop_folder(source, out, options).refused] == ["fig.jpg"]
    report = apply(source, out, options, fig={"caption": "now it has one"})
    assert (report.done, report.refused) == (1, [])
    assert (out / "fig.txt").read_text() == "now it has one"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"box": [0, 0, 1024, 512], "bucket": [1024, 1024]}, "would be stretched"),
        ({"box": [0, 0, 9000, 9000], "bucket": [1024, 1024]}, "not inside the picture"),
        ({"box": [0, 0, 400, 400], "bucket": [1024, 1024]}, "too small"),
        ({**WINDOW, "source_size": [10, 10]}, "was made for a picture of 10x10"),
    ],
)
def test_a_window_that_cannot_be_is_reported_and_the_rest_is_done(source, out, wrong, message):
    before = tree(out)
    report = apply(source, out, fig=wrong, dogs={"caption": "new"})
    (problem,) = report.refused + report.failed
    assert problem.source == "fig.jpg"
    assert message in problem.reason
    assert (out / "fig.jpg").read_bytes() == before["fig.jpg"]
    assert (out / "dogs.txt").read_text() == "new"


def test_making_everything_anew_keeps_what_was_decided_and_replaces_what_was_edited_by_hand(source, out):
    apply(source, out, fig=WINDOW, dogs={"rejected": True}, mountains={"caption": "a new one"})
    before = tree(out)
    (out / "mountains.txt").write_text("by hand")
    report = crop_folder(source, out, UPSCALE, execution=Execution(overwrite=True))
    assert (report.done, report.rejected, tree(out)) == (3, ["dogs.jpg"], before)


def test_a_run_of_all_or_nothing_follows_decisions_or_leaves_everything(source, out):
    before = tree(out)
    write(out, fig={"box": [0, 0, 9000, 9000], "bucket": [1024, 1024]}, dogs={"rejected": True}, mountains={"caption": "new"})
    decided = tree(out)
    report = crop_folder(source, out, UPSCALE, execution=Execution(strict=True))
    assert (report.withheld, tree(out)) == (True, decided)
    write(out, fig=WINDOW, dogs={"rejected": True}, mountains={"caption": "new"})
    report = crop_folder(source, out, UPSCALE, execution=Execution(strict=True))
    assert (report.exit_code, report.done) == (0, 2)
    assert not (out / "dogs.jpg").exists()
    assert before["mountains.txt"] != (out / "mountains.txt").read_bytes() == b"new"


def test_a_caption_is_mended_beside_a_picture_that_was_retouched_by_hand(source, out):
    with Image.open(out / "fig.jpg") as picture:
        ImageOps.mirror(picture).save(out / "fig.jpg")
    mine = (out / "fig.jpg").read_bytes()
    report = apply(source, out, fig={"caption": "new"})
    assert (report.refused, (out / "fig.jpg").read_bytes(), (out / "fig.txt").read_text()) == ([], mine, "new")


def test_decisions_about_pictures_that_are_gone_are_named(source, out):
    report = apply(source, out, gone={"rejected": True})
    assert "1 decision in decisions.jsonl about pictures that are gone: gone.jpg" in report.notes


def test_a_picture_that_changed_since_it_was_judged_is_named(source, out):
    apply(source, out, fig=WINDOW, dogs={"accepted": True})
    for name in ("fig.jpg", "dogs.jpg", "mountains.jpg"):
        with Image.open(source / name) as picture:
            ImageOps.mirror(picture).save(source / name)
    report = crop_folder(source, out, UPSCALE)
    said = "2 pictures that somebody decided about changed since the last run: look again at dogs.jpg, fig.jpg"
    assert said in report.notes
    assert said not in crop_folder(source, out, UPSCALE).notes


def test_a_caption_taken_back_leaves_no_picture_without_one_where_they_are_required(source, tmp_path):
    (source / "fig.txt").unlink()
    required, out = CropOptions(upscale=1.5, captions="required"), tmp_path / "required"
    crop_folder(source, out, required)
    apply(source, out, required, fig={"caption": "mine"})
    report = apply(source, out, required, fig={"revision": 1})
    assert [(problem.source, problem.kind) for problem in report.refused] == [("fig.jpg", "caption-missing")]
    assert not (out / "fig.jpg").exists()
    assert "deleted 1 output that only a decision had let in, which was taken back: fig.jpg" in report.notes


def test_a_dataset_moved_without_its_state_is_applied_again_with_the_same_result(source, out):
    apply(source, out, fig=WINDOW, dogs={"rejected": True}, mountains={"caption": "a new one"})
    before = tree(out)
    shutil.rmtree(out / ".datakit")
    apply(source, out)
    assert tree(out) == before


def test_the_last_run_s_problems_and_options_are_kept(source, out):
    (source / "broken.jpg").write_bytes(b"no picture")
    crop_folder(source, out, UPSCALE)
    kept = json.loads((out / ".datakit" / "report.json").read_text())
    assert [problem["source"] for problem in kept["failed"]] == ["broken.jpg"]
    assert kept["options"]["upscale"] == 1.5


def test_windows_edited_in_a_plan_become_decisions_and_those_of_datakit_do_not(source, out, tmp_path):
    plans, _ = plan_folder(source, UPSCALE)
    lines = {plan.source: json.loads(to_line(plan)) for plan in plans}
    lines["fig.jpg"]["box"] = BOX
    lines["fig.jpg"]["bucket"] = [1024, 1024]  # the anchor still says that datakit decided
    del lines["dogs.jpg"]
    plan = tmp_path / "plan.jsonl"
    plan.write_text("".join(f"{json.dumps(line)}\n" for line in lines.values()))
    before = tree(out)
    report = crop_folder(source, out, UPSCALE, plan=plan)
    assert (report.done, report.skipped) == (1, 2)
    assert [(each.source, each.box) for each in read_decisions(out).values()] == [("fig.jpg", tuple(BOX))]
    after = tree(out)
    assert {name for name in after if after[name] != before.get(name)} == {"fig.jpg", "manifest.jsonl", DECISIONS}
    for execution in (Execution(), Execution(overwrite=True)):
        crop_folder(source, out, UPSCALE, execution=execution)
        assert tree(out) == after
    apply(source, out, fig={"caption": "mine", "revision": 1, **WINDOW})
    crop_folder(source, out, UPSCALE, plan=plan)
    assert read_decisions(out)["fig.jpg"].caption == "mine"


def test_a_strict_run_that_writes_nothing_decides_nothing(source, out, tmp_path):
    line = {"source": "fig.jpg", "box": [0, 0, 9000, 9000], "bucket": [1024, 1024]}
    (tmp_path / "plan.jsonl").write_text(json.dumps(line) + "\n")
    report = crop_folder(source, out, UPSCALE, plan=tmp_path / "plan.jsonl", execution=Execution(strict=True))
    assert (report.withheld, (out / DECISIONS).exists()) == (True, False)


def test_one_picture_may_be_enlarged_more_than_the_others(source, out):
    with Image.open(source / "fig.jpg") as picture:
        picture.resize((700, 600)).save(source / "fig.jpg")
    report = crop_folder(source, out, UPSCALE)
    (problem,) = report.refused
    assert (problem.source, problem.kind, problem.size) == ("fig.jpg", "too-small", (700, 600))
    for _ in range(2):
        report = apply(source, out, fig={"upscale": problem.upscale_needed})
        record = records(out)["fig.jpg"]
        assert (report.refused, record.scale > 1.5, record.anchor != "manual") == ([], True, True)
    assert (report.done, report.skipped) == (0, 4)
    report = apply(source, out, fig={"revision": 2})
    assert [problem.source for problem in report.refused] == ["fig.jpg"]
    assert not (out / "fig.jpg").exists()


def test_the_command_follows_decisions_and_says_so(datakit, source, out):
    write(out, fig=WINDOW, dogs={"rejected": True})
    done = datakit("crop", source, out, "--upscale", "1.5")
    assert done.returncode == 0
    assert "1 done, 2 up to date" in done.stdout
    assert "1 rejected in review, left out:\n  dogs.jpg" in done.stdout
    write_atomically(out / DECISIONS, b"nonsense\n")
    wrong = datakit("crop", source, out)
    assert (wrong.returncode, f"{DECISIONS}, line 1: no decision" in wrong.stderr) == (2, True)


def test_what_was_applied_is_kept_under_another_name_and_format(source, out):
    apply(source, out, fig=WINDOW | {"caption": "mine"})
    drawn = next(record for record in read_manifest(out) if record.source == "fig.jpg")
    (source / "fig.jpeg").write_bytes((source / "mountains.jpg").read_bytes())
    crop_folder(source, out, CropOptions(upscale=1.5, format="png"))
    now = next(record for record in read_manifest(out) if record.source == "fig.jpg")
    assert (now.output, now.box, now.bucket, now.anchor) == ("fig_jpg.png", drawn.box, drawn.bucket, "manual")
    assert (out / "fig_jpg.txt").read_text() == "mine"


@pytest.mark.parametrize("line", [b'{"source":"a.jpg","reject":true}', b'{"source":"a.jpg","accepted":true,"rejected":true}', b'{"source":"a.jpg","revision":-1}'])  # fmt: skip
def test_a_line_that_says_nothing_known_is_refused(tmp_path, line):
    (tmp_path / DECISIONS).write_bytes(line + b"\n")
    with pytest.raises(PlanError, match="line 1"):
        read_decisions(tmp_path)


def edit_by_hand(path, text):
    path.write_text(text)
    os.utime(path, ns=(1, 1))


def test_a_run_killed_while_a_caption_edited_by_hand_is_replaced_is_made_good(source, out, monkeypatch):
    edit_by_hand(out / "fig.txt", "hand")
    decided = {"caption": "decided", "caption_before": "hand"}
    for quality in (95, 90):
        for fatal in range(3):
            attempt = out.with_name(f"attempt{quality}{fatal}")
            shutil.copytree(out, attempt)
            options, steps = CropOptions(upscale=1.5, quality=quality), count()

            def put(*arguments, fatal=fatal, steps=steps, put=Store._put):
                if next(steps) == fatal:
                    raise KeyboardInterrupt
                put(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(Store, "_put", put)
                with suppress(KeyboardInterrupt):
                    apply(source, attempt, options, fig=decided)
            apply(source, attempt, options)
            assert (attempt / "fig.txt").read_text() == "decided"


def test_a_decided_caption_is_written_wherever_the_output_goes(source, out):
    apply(source, out, fig={"caption": "decided"})
    edit_by_hand(out / "fig.txt", "hand")
    assert (apply(source, out).done, (out / "fig.txt").read_text()) == (0, "hand")
    shutil.copy(source / "dogs.jpg", source / "fig.jpeg")
    apply(source, out)
    assert (out / "fig_jpg.txt").read_text() == "decided"
    edit_by_hand(out / "fig_jpg.txt", "hand")
    apply(source, out, CropOptions(upscale=1.5, quality=90))
    assert (out / "fig_jpg.txt").read_text() == "hand"
    (out / "fig_jpg.txt").unlink()
    apply(source, out, CropOptions(upscale=1.5, quality=90))
    assert (out / "fig_jpg.txt").read_text() == "decided"
    (source / "fig.txt").unlink()
    edit_by_hand(out / "fig_jpg.txt", "hand")
    report = apply(source, out, CropOptions(upscale=1.5, captions="required"))
    assert "fig.jpg" not in {problem.source for problem in report.refused}
    assert (out / "fig_jpg.txt").read_text() == "hand"


def test_a_caption_edited_while_crop_runs_is_not_replaced(source, out, monkeypatch):
    apply(source, out, fig={"caption": "decided"})

    def edited(items, total, label):
        yield from items
        if label == "checking":
            edit_by_hand(out / "fig.txt", "hand")

    crop_folder(source, out, CropOptions(upscale=1.5, quality=90), execution=Execution(progress=edited))
    assert (out / "fig.txt").read_text() == "hand"


def test_a_caption_that_cannot_be_read_is_not_replaced(source, out):
    (out / "fig.txt").write_bytes(b"h\0a\0n\0d")
    report = apply(source, out, fig={"caption": "decided"})
    assert (out / "fig.txt").read_bytes() == b"h\0a\0n\0d"
    assert any("fig.txt was edited after that" in note for note in report.notes)


def test_a_window_that_cannot_be_is_not_decided_on_and_one_decided_before_stays(source, out, tmp_path):
    def planned(**line):
        (tmp_path / "plan.jsonl").write_text(json.dumps({"source": "fig.jpg", **line}) + "\n")
        return crop_folder(source, out, UPSCALE, plan=tmp_path / "plan.jsonl")

    assert planned(**WINDOW).done == 1
    before = tree(out)
    for wrong in ({"box": [0, 0, 9000, 9000], "bucket": [1024, 1024]}, {"box": BOX, "bucket": [1152, 896]}):
        report = planned(**wrong)
        (problem,) = report.refused + report.failed
        assert problem.reason.startswith("plan line 1: ")
        assert tree(out) == before
    assert crop_folder(source, out, UPSCALE).exit_code == 0


def test_the_advice_for_a_stretched_box_lies_inside_it(source, out):
    report = apply(source, out, fig={"box": BOX, "bucket": [1152, 896]})
    assert report.failed[0].reason.endswith("would be stretched to 1152x896: make it 1024x796")


def test_what_a_decided_window_keeps_does_not_depend_on_what_was_there_before(pictures, tmp_path):
    source, options = tmp_path / "src", CropOptions(upscale=4.0)
    source.mkdir()
    shutil.copy(pictures / "astronaut.jpg", source)
    crop_folder(source, tmp_path / "again", options)
    (tmp_path / "fresh").mkdir()
    for name in ("again", "fresh"):
        write(tmp_path / name, astronaut={"box": [256, 256, 512, 512], "bucket": [1024, 1024]})
        crop_folder(source, tmp_path / name, options)
    assert tree(tmp_path / "again") == tree(tmp_path / "fresh")
    (record,) = read_manifest(tmp_path / "fresh")
    assert record.faces[0].kept < 1
    shutil.copy(pictures / "coffee.png", source / "astronaut.jpg")
    with Image.open(source / "astronaut.jpg") as picture:
        picture.convert("RGB").resize((512, 512)).save(source / "astronaut.jpg", "JPEG")
    crop_folder(source, tmp_path / "again", options)
    (record,) = read_manifest(tmp_path / "again")
    assert record.faces == ()


@pytest.mark.parametrize(
    "decided",
    [
        {"caption": "new", "caption_before": "other"},
        {"upscale": 1.01},
        {"box": [0, 0, 9000, 9000], "bucket": [1024, 1024]},
        {"rejected": True},
    ],
)
def test_a_decision_waits_until_one_run_has_tried_it(source, out, decided):
    edit_by_hand(out / "fig.txt", "hand")
    with Image.open(source / "dogs.jpg") as picture:
        picture.resize((700, 600)).save(source / "dogs.jpg")
    crop_folder(source, out, UPSCALE, execution=Execution(prune=True))
    name = "dogs" if "upscale" in decided else "fig"
    write(out, **{name: decided})
    assert any("1 decision not followed yet" in said for said in behind(out, list(read_manifest(out))))
    apply(source, out)
    assert not any("not followed yet" in said for said in behind(out, list(read_manifest(out))))


def test_a_line_that_was_deleted_waits_too(source, out):
    before = tree(out)
    apply(source, out, fig={"caption": "new"}, mountains=WINDOW | {"box": [0, 0, 800, 800]})
    (out / DECISIONS).unlink()
    (said,) = behind(out, list(read_manifest(out)))
    assert "2 decisions not followed yet: fig.jpg, mountains.jpg" in said
    apply(source, out)
    assert (tree(out), behind(out, list(read_manifest(out)))) == (before, [])


def test_an_enlargement_that_was_allowed_stays_allowed_with_a_plan(source, out, tmp_path):
    with Image.open(source / "fig.jpg") as picture:
        picture.resize((700, 600)).save(source / "fig.jpg")
    apply(source, out, fig={"upscale": 3.0})
    line = {"source": "fig.jpg", "box": [0, 0, 600, 600], "bucket": [1024, 1024]}
    (tmp_path / "plan.jsonl").write_text(json.dumps(line) + "\n")
    assert crop_folder(source, out, UPSCALE, plan=tmp_path / "plan.jsonl").exit_code == 0
    assert read_decisions(out)["fig.jpg"].upscale == 3.0


def test_a_window_saved_on_the_page_while_a_plan_is_applied_is_kept(source, out, tmp_path):
    (tmp_path / "plan.jsonl").write_text(json.dumps({"source": "fig.jpg", **WINDOW}) + "\n")

    def meanwhile(items, total, label):
        if label == "checking":
            change_decision(out, "fig.jpg", 0, lambda _: Decision(source="", rejected=True))
        return items

    crop_folder(source, out, UPSCALE, plan=tmp_path / "plan.jsonl", execution=Execution(progress=meanwhile))
    assert read_decisions(out)["fig.jpg"].rejected
    assert crop_folder(source, out, UPSCALE).rejected == ["fig.jpg"]


def test_a_rejected_picture_comes_back_to_the_caption_that_was_edited_by_hand(source, out):
    edit_by_hand(out / "dogs.txt", "my own words")
    edit_by_hand(out / "fig.txt", "nobody's")
    apply(source, out, dogs={"rejected": True}, fig={"rejected": True})
    (out / "fig.txt").write_text("another text since then")
    (out / DECISIONS).unlink()
    report = crop_folder(source, out, UPSCALE)
    assert (out / "dogs.jpg").exists()
    assert (out / "dogs.txt").read_text() == "my own words"
    assert records(out)["dogs.jpg"].caption_edited
    assert [(problem.source, problem.kind) for problem in report.refused] == [("fig.jpg", "in-the-way")]
    assert (out / "fig.txt").read_text() == "another text since then"
    before = tree(out)
    assert (crop_folder(source, out, UPSCALE).done, tree(out)) == (0, before)


def test_a_rejected_picture_that_was_retouched_by_hand_is_never_replaced(source, out):
    with Image.open(out / "fig.jpg") as picture:
        ImageOps.mirror(picture).save(out / "fig.jpg")
    mine = (out / "fig.jpg").read_bytes()
    apply(source, out, fig={"rejected": True})
    report = apply(source, out, fig={"revision": 2})
    assert (out / "fig.jpg").read_bytes() == mine
    assert "fig.jpg was edited since datakit wrote it" in report.refused[0].reason
