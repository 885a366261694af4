"""In which encoding a caption is, alone and together with its folder; it is never read as what it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.caption.captions import decode_caption
from datakit.caption.encodings import agree, tell
from datakit.errors import CaptionError

WRAPPED = """red hair, blue eyes, long dress with a white collar, standing in
a park beside a bench, trees, two dogs, a lake in the distance, low
sun, warm light"""
TOLD = {
    "gb18030": ["一个女孩, 红色头发, 绿色眼睛, 公园", "一只猫坐在窗台上，阳光明媚", "1girl, 微笑的少女, 长发, 连衣裙"],
    "cp932": ["少女, 赤い髪, 緑の目", "公園のベンチに座っている女性、犬"],
    "euc_jp": ["少女, 赤い髪, 緑の目"],
    "cp949": ["소녀, 빨간 머리, 초록 눈, 공원", "벤치에 앉아 있는 여자"],
    "cp1251": ["девушка, рыжие волосы, парк", "Кошка сидит на окне. Солнечный день."],
    "koi8_r": ["девушка, рыжие волосы, парк"],
    "big5": ["一個女孩, 紅色頭髮, 綠色眼睛, 公園"],
    "cp1252": ["café, crème brûlée", "a woman’s “red” coat", "ein Mädchen auf der Straße, grüne Augen", "ä, ß"],
    "utf_16_le": ["red car, ü", "少女, 赤い髪"],
    "utf_16_be": ["red car, ü", "少女, 赤い髪"],
}
ALL = [(encoding, text) for encoding, texts in TOLD.items() for text in texts]


@pytest.mark.parametrize(("encoding", "text"), ALL)
def test_a_caption_of_a_few_words_is_read_as_it_was_written(encoding, text):
    caption = decode_caption(text.encode(encoding), "a.txt")
    assert caption.text == text
    assert [warning.kind for warning in caption.warnings] == ["caption-encoded"]


@pytest.mark.parametrize(
    "text",
    [
        "dziewczyna, zielone oczy, łąka, żółty".encode("cp1250"), "夜, 街, 雪".encode("cp932"), b"\x81\x8d\x8f\x90",
        "ДЕВУШКА, ПАРК".encode("cp1251"), "ילדה, שיער אדום".encode("cp1255"), "długie włosy".encode("cp1250"), "café, Größe".encode("mac_roman"),
        "café".encode("cp437"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_by_name(text):
    with pytest.raises(CaptionError, match=r"caption a.txt is not UTF-8.*save it as UTF-8"):
        decode_caption(text, "a.txt")


def test_a_folder_tells_what_one_caption_does_not():
    few = ["夜, 街, 雪", "少女, 赤い髪, 緑の目", "公園のベンチに座っている女性、犬"]
    agreed = agree([*(text.encode("cp932") for text in few), b"plain, words"])
    assert tell(few[0].encode("cp932")) is None
    assert decode_caption(few[0].encode("cp932"), "a.txt", agreed).text == few[0]


def test_a_folder_tells_what_is_not_western_though_it_looks_like_it():
    one, other = "piękna dziewczyna".encode("cp1250"), "zielone oczy, łąka, żółty".encode("cp1250")
    assert tell(one) == "cp1252"
    agreed = agree([one, other, b"plain"])
    for data in (one, other):
        with pytest.raises(CaptionError, match="what else it is cannot be told"):
            decode_caption(data, "a.txt", agreed)
    assert decode_caption("公園のベンチに座る".encode("cp932"), "a.txt", agreed).text == "公園のベンチに座る"


def test_a_folder_of_several_encodings_agrees_on_none():
    assert agree(texts[0].encode(encoding) for encoding, texts in TOLD.items()) is None
    assert agree([b"plain", "é".encode()]) is None


RUSSIAN = st.text(st.sampled_from("абвгджзиклмнопрстуфхцчшщыэюя"), max_size=6)
# Of three letters and more, a word holds a vowel.
WORDS = st.lists(st.tuples(RUSSIAN, st.sampled_from("аеиоуыэюя"), RUSSIAN, st.sampled_from(("", ","))).map("".join), min_size=4)


@given(WORDS.map(" ".join).filter(lambda text: len(text) >= 12), st.sampled_from(["cp1251", "koi8_r"]))
def test_lower_case_words_of_russian_are_never_taken_for_others(text, encoding):
    assert tell(text.encode(encoding)) in (
        encoding,
        None,
        *(("utf-8",) if text.isascii() else ()),
        *(("cp1252",) if len(set(text) - set(" ,")) < 6 else ()),
    )


@pytest.mark.parametrize(
    ("text", "clean", "kinds"),
    [
        ("a\u200b, b\ufeff c", "a, b c", ["caption-invisible"]),
        ("שלום, \u202eעולם\u202c", "שלום, עולם", ["caption-invisible"]),
        ("a\u00a0b", "a b", []),
        ("👩\u200d👧, می\u200cخواهم", "👩\u200d👧, می\u200cخواهم", []),
        ("salt &amp; pepper", "salt &amp; pepper", ["caption-html"]),
        ("AT&T; a", "AT&T; a", []),
        ("1girl\nsolo\nlong hair", "1girl\nsolo\nlong hair", ["caption-lines"]),
        ("1girl\nsolo\nlong hair\nnanashi inc.", "1girl\nsolo\nlong hair\nnanashi inc.", ["caption-lines"]),
        ("red hair, blue eyes,\nlong dress,\nnight", "red hair, blue eyes,\nlong dress,\nnight", ["caption-wrapped"]),
        (
            "a dog on a lawn\nthe dog runs in snow\na brown dog sleeps here",
            "a dog on a lawn\nthe dog runs in snow\na brown dog sleeps here",
            [],
        ),
        (WRAPPED, WRAPPED, ["caption-wrapped"]),
        ("a dog on a lawn\na brown dog, lawn\nA dog.", "a dog on a lawn\na brown dog, lawn\nA dog.", []),
    ],
)
def test_what_no_reader_sees_is_cleaned_or_told(text, clean, kinds):
    caption = decode_caption(text.encode(), "a.txt")
    assert (caption.text, [warning.kind for warning in caption.warnings]) == (clean, kinds)
