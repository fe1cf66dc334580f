import polars as pl
import pytest

from customer360.models.identity.organisations.among_customers import legal_forms
from customer360.models.identity.organisations.names import organisation_name

SAME = [
    ("The Brandt Bros. Mfg. Co., Ltd.", "BRANDT BROTHERS MANUFACTURING"),
    ("Kestrel Plumbing, L.L.C.", "Kestrel Plumbing LLC"),
    ("A.B.C. Learning", "ABC Learning"),
    ("株式会社青嶺", "青嶺(株)"),
    ("ООО Берёзка", "БЕРЕЗКА"),
    ("Möwe GmbH & Co. KG", "mowe"),
    ("N.V. Zilverreiger", "Zilverreiger N V"),
    ("Zielony Sp. z o.o.", "ZIELONY"),
    ("Havgast A/S", "Havgast ApS"),
    ("Grupo Azul S.A. de C.V.", "Grupo Azul"),
    ("PT Sumber Angin", "Sumber Angin Tbk"),
    ("Rossetti S.p.A.", "rossetti spa"),
    ("Q&A Corp.", "Q & A Corporation"),
    ("Karga Tic. Ltd. Şti.", "Karga Tic Ltd Şti"),
    ("Smithers Intl", "Smithers International Inc."),
    ("Harbor Learning Ctr", "Harbor Learning Centers"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_firm_come_to_the_same_words(one, other):
    assert organisation_name(one).words == organisation_name(other).words


@pytest.mark.parametrize(
    ("name", "form", "is_telling"),
    [
        ("Kestrel LLC", "limited", True),
        ("Kestrel Inc", "public", True),
        ("Kestrel & Co", "company", False),
        ("Jim Sá", "public", False),
        ("Lien Ngo", None, False),
        ("Asa Ky", "partnership", False),
        ("Inc", None, False),
        ("", None, False),
        ("合同会社みどり", "limited", True),
    ],
)
def test_the_legal_form_says_what_kind_of_firm_it_is(name, form, is_telling):
    found = organisation_name(name)
    assert (found.form, found.is_telling) == (form, is_telling)


def test_a_name_of_nothing_but_a_form_keeps_it():
    assert organisation_name("The Company").words == ("company",)
    assert organisation_name("Ltd").words == ("ltd",)


def test_forms_that_were_told_before_are_taken_and_others_are_read() -> None:
    names = pl.Series("organisation_name", ["Acme Ltd", "Beta GmbH", "Gamma", "Delta AG"])
    known = pl.DataFrame({"organisation_name": ["Acme Ltd", "Gamma"], "legal_form": ["told", None]})
    read = [organisation_name(text).form for text in names]
    assert legal_forms(names, None).to_list() == read
    assert legal_forms(names, known).to_list() == ["told", read[1], None, read[3]]
    assert legal_forms(names.clear(), known).dtype == pl.String
