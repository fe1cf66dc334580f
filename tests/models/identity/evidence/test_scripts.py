"""What is folded, what is kept and how it is spelled, script by script."""

import polars as pl
import pytest

from customer360.models.identity.evidence.scripts import folded, signed, spelled, spellings, toned


def fold(text: str) -> str:
    return pl.DataFrame({"text": [text]}).select(folded(pl.col("text"))).item()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MÜLLER", "Muller"), ("Łucja", "lucja"), ("Ёлкин", "елкин"), ("Γιώργος", "γιωργος"), ("مُحَمَّد", "محمد"),
        ("أحمد", "احمد"),
        ("علی", "علي"), ("فاطمة", "فاطمه"), ("רִבְקָה", "רבקה"), ("ﾔﾏﾀﾞ", "やまだ"),
        ("ヤマダ", "やまだ"), ("Ｊｏｈｎ", "john"),
        ("İpek", "ipek"),
    ],
)  # fmt: skip
def test_habits_of_writing_are_folded(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("राज", "राजू"),
        ("दीपा", "दीप"),
        ("สมชาย", "สมหญิง"),
        ("มาลี", "มาลา"),
        ("かき", "がき"),
        ("민준", "민서"),
        ("محمد", "محمود"),
    ],
)
def test_a_mark_that_carries_a_sound_is_kept(one: str, other: str) -> None:
    assert fold(one) != fold(other)
    assert spelled(fold(one)) != spelled(fold(other))


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("민준", "min jun"), ("ユーキ", "yuuki"), ("しょうた", "shouta"), ("はっとり", "hattori"),
        ("チャーリー", "chaarii"), ("Παπαδόπουλος", "papadopoulos"), ("Ευάγγελος", "evangelos"),
        ("Παύλος", "pavlos"), ("Ντίνα", "dina"), ("やまだ", "yamada"), ("Иван", "ivan"),
        ("王", "wang"), ("小明", "xiao ming"),
        ("राजू", "raju"), ("Γιώργος", "giorgos"), ("علي", "aly"), ("anna maria", "anna maria"),
    ],
)  # fmt: skip
def test_names_are_spelled_in_ascii_letters(text: str, letters: str) -> None:
    assert spelled(fold(text)) == letters


def test_tones_count_where_their_writer_puts_them() -> None:
    assert toned("Thành", "Nguyễn") != toned("Thanh", "Nguyễn"), "a level tone has no mark: the surname tells"
    assert toned("Thanh", "Nguyen") is None and toned("Jörg", "Müller") is None and toned("José", "García") is None
    assert toned("Hoà", "Lê") == toned("Hòa", "Lê") != toned("Hoa", "Lê"), "old and new spelling are one"
    assert toned("Aydın", "Yıldız") != toned("Aydin", "Yıldız") and toned("AYDIN", "YILDIZ") is None


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("Юлия", "yulia julia iuliia julija"), ("Дмитрий", "dmitry dmitriy dmitri"), ("Сергей", "sergey sergej"),
        ("Наталья", "natalia"), ("Алексей", "alexey"), ("Хасан", "hasan"), ("Чайка", "tchaika"),
        ("Χρήστος", "hristos"), ("Γιώργος", "yiorgos"), ("Λάμπρος", "labros"),
        ("つよし", "tuyosi"), ("しょうた", "shota syota"), ("ゆうき", "yuki"), ("おおの", "ono ohno"),
        ("ジョージ", "joji"),        ("小明", "xiaoming"), ("민준", "minjun"), ("राजेश", "rajesh"), ("शंकर", "shankar"),
        ("ভরত", "bharat"), ("विजय", "vijay"),
    ],
)  # fmt: skip
def test_a_name_of_another_script_is_spelled_as_others_spell_it(text: str, others: str) -> None:
    assert set(others.split()) <= set((spellings(fold(text)) or "").split("|"))


def test_a_name_is_no_other_name_in_any_spelling() -> None:
    for one, other in [
        ("Юлия", "Юлиан"),
        ("さゆり", "さおり"),
        ("小明", "小民"),
        ("민준", "민서"),
        ("Γιώργος", "Γρηγόρης"),
    ]:
        ways = [set((spellings(fold(name)) or "").split("|")) for name in (one, other)]
        assert ways[0].isdisjoint(ways[1] - {""})


def test_a_distance_of_signs_counts_signs() -> None:
    one, other = signed("聡太郎"), signed("聡郎")
    assert (len(one), len(other)) == (3, 2)
    assert one[0] == other[0] and one[2] == other[1]
    assert one.isascii() and signed("さ ゆ") == signed("さゆ")
