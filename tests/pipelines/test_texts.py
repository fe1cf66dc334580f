"""Languages, sentiment, aspects and terms of labelled texts. All were written for this test."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.rules.voice import VoiceRules
from customer360.pipelines.texts.statements import found_terms, language_of, read, sentiment_of

PRAISE = {
    "en": ["Great product, works perfectly!", "Love it", "The staff were friendly and very helpful",
           "Arrived early, nice", "I'd buy this again, excellent value", "Not bad at all",
           "So happy with these shoes 😍", "Best shop ever"],
    "de": ["Sehr gute Qualität, gerne wieder", "Die Lieferung war schnell und das Personal freundlich",
           "Gar nicht schlecht",           "Bin begeistert von der Jacke!",
           "Ich kann den Laden nur empfehlen", "Alles super, vielen Dank"],
    "es": ["Muy buena calidad, lo recomiendo", "El envío fue rápido y el trato amable", "Me encanta, es perfecto",
           "No está mal", "Estoy muy contento con la compra"],
    "fr": ["Très bonne qualité, je recommande", "Livraison rapide et personnel aimable", "Je suis ravi de mon achat",
           "Pas mal du tout", "C'est parfait, merci beaucoup"],
}  # fmt: skip
BLAME = {
    "en": ["Terrible, it broke after two days", "The delivery was late and nobody was helpful", "Not good",
           "I hate the color",           "Awful service, never again!", "Very disappointed with the quality",
           "This is a scam 😡", "Rude staff"],
    "de": ["Schlechte Qualität, nach zwei Tagen kaputt", "Die Lieferung kam verspätet, sehr ärgerlich", "Nicht gut",
           "Ich bin vom Kundenservice enttäuscht", "Eine Katastrophe, so unfreundlich", "Das Hemd ist nicht schön"],
    "es": ["Mala calidad, llegó roto", "El envío fue pésimo", "No me gusta, no es bueno",
           "Una estafa, no lo recomiendo",           "El personal fue muy grosero conmigo"],
    "fr": ["Mauvaise qualité, cassé au bout de deux jours", "Je suis très déçu de la livraison", "Ce n'est pas bon",
           "Service nul, une honte", "Le vendeur était désagréable avec nous"],
}  # fmt: skip
OTHERS = {
    "it": ["La consegna è stata molto veloce, grazie", "Il prodotto non è quello della foto"],
    "nl": ["Het pakket is heel snel bezorgd", "Ik ben niet tevreden met de kwaliteit van het artikel"],
    "pt": ["O produto é muito bom e chegou rápido", "Não gostei da qualidade do artigo"],
    None: ["Товар пришёл быстро", "商品很好", "12345", "AX-9 B", "", "Levering kom aldrig frem", "Toimitus oli nopea"],
}
EVERY = [(language, text) for sort in (PRAISE, BLAME, OTHERS) for language, texts in sort.items() for text in texts]
LABELLED = [(1, lang, t) for lang, texts in PRAISE.items() for t in texts] + [
    (-1, lang, t) for lang, texts in BLAME.items() for t in texts
]


def test_at_most_one_language_of_twenty_is_told_wrong() -> None:
    """A language that is not told is no error, but a rare thing; one that is told wrong is."""
    told = [(language, language_of(text), text) for language, text in EVERY]
    wrong = [each for each in told if each[1] is not None and each[0] != each[1]]
    silent = [each for each in told if each[1] is None and each[0] is not None]
    assert len(wrong) <= len(EVERY) / 20, wrong
    assert len(silent) <= len(EVERY) / 10, silent


def test_nine_of_ten_labelled_texts_are_read_as_meant() -> None:
    wrong = [
        (meant, t, sentiment_of(t, lang)) for meant, lang, t in LABELLED if (sentiment_of(t, lang) or 0) * meant <= 0
    ]
    assert len(wrong) <= len(LABELLED) / 10, wrong


@pytest.mark.parametrize(
    ("language", "plain", "negated"),
    [("en", "It is good", "It is not good"), ("de", "Das ist gut", "Das ist nicht gut"),
     ("es", "Es bueno", "No es bueno"), ("fr", "C'est bon", "Ce n'est pas bon")],
)  # fmt: skip
def test_a_negation_turns_what_it_stands_by(language: str, plain: str, negated: str) -> None:
    assert (sentiment_of(plain, language) or 0) > 0 > (sentiment_of(negated, language) or 0)


def test_degree_and_emoji_count_in_every_language() -> None:
    assert (sentiment_of("sehr gut", "de") or 0) > (sentiment_of("gut", "de") or 0)
    assert (sentiment_of("gut!!!", "de") or 0) > (sentiment_of("gut", "de") or 0)
    assert (sentiment_of("Angekommen 😡", "de") or 0) < 0 < (sentiment_of("😍😍", None) or 0)
    assert sentiment_of("Товар отличный", None) is None and sentiment_of("Il prodotto è ottimo", "it") is None


def test_an_aspect_has_the_sentiment_of_its_clauses() -> None:
    words = {"PRICE": ["price*"], "STAFF": ["staff"], "FIT": ["value for money"]}
    said = read("The staff were wonderful, but the price is a horrible joke. Great value for money?", words)
    assert said.aspects["STAFF"] and said.aspects["STAFF"] > 0 > (said.aspects["PRICE"] or 0)
    assert set(said.aspects) == {"PRICE", "STAFF", "FIT"}
    unread = read("Цвет хороший", {"COLOUR": ["цвет"]})
    assert unread.aspects == {"COLOUR": None} and unread.sentiment is None


def test_terms_are_words_beginnings_or_sequences() -> None:
    lists = {"a": ["refund*", "log in"], "b": ["app"]}
    assert found_terms("Refunded? I cannot log in. Apple pie", lists) == {"a": ["log in", "refund*"]}


def test_any_text_is_read_without_a_fault() -> None:
    for text in ("", " ", "😀", "'", "a" * 100_000, "?!" * 1000, "\x00", "né\u0301", "but but but", "👩‍👩‍👧"):
        said = read(text, {"PRICE": ["price"]})
        assert said.sentiment is None or -1 <= said.sentiment <= 1


def test_terms_with_digits_signs_and_capitals_are_found() -> None:
    lists = {"rivals": ["h&m", "7-eleven", "Forever 21", "3M", "E-Mail*"]}
    text = "H&M and 7-Eleven, forever 21 or 3m? E-mails too"
    assert found_terms(text, lists) == {"rivals": sorted(lists["rivals"])}
    assert found_terms("hm 7 forever 2", lists) == {}


@pytest.mark.parametrize("term", ["", "*", "&", " - "])
def test_a_term_that_would_be_found_everywhere_is_refused(term: str) -> None:
    for rules, told in ((VoiceRules, {"spam_terms": [term]}), (VoiceRules, {"competitors": {"A": [term]}}),
                        (ServiceRules, {"terms": {"BILLING": [term]}})):  # fmt: skip
        with pytest.raises(ValidationError, match="no letter or digit"):
            rules.model_validate(told)
