"""Which records are of organisations: as the source says, else by their names."""

from __future__ import annotations

import re

import polars as pl

from customer360.models.identity.evidence.standardize import plain_text
from customer360.models.identity.organisations.legal_forms import JOINED, SPOKEN, TELLING
from customer360.models.identity.organisations.names import organisation_name

ENTITY, PERSON, ORGANISATION, SITE = "entity_type", "person", "organisation", "site"
NAME = "organisation_name"
# What columns called type, kind or "is company" hold.
_STATED = {
    ORGANISATION: """organisation organization org organisations organizations company companies corporate corporation
        business firm b2b account entity site branch legal juridical commercial enterprise entreprise societe
        unternehmen firma empresa azienda bedrijf o c true yes y 1 t""",
    PERSON: """person persons people individual individuals private consumer b2c human natural contact personne privat
        particulier persona persoon p i false no n 0 f""",
}
# Where a form asks for the firm of somebody who has none.
_NOBODY_S = """self, self employed, selfemployed, myself, me, freelance, freelancer, independent, individual, private,
    private person, privat, privatperson, privatkunde, particulier, particular, partikulier, personal, home, retired,
    student, unemployed, sole trader, no company, keine, keine firma, aucune, ninguna, nessuna, geen, x"""
NO_FIRM = [" ".join(words.split()) for words in _NOBODY_S.split(",")]
_KINDS = {word: kind for kind, words in _STATED.items() for word in words.split()}
# A short form is told from a surname ("Sá", "Ag") by how it is written: with points or a stroke.
_POINTED = r"(?i)\b(?:s\.\s?a\.(?:\s?s\.)?|b\.\s?v\.|n\.\s?v\.|s\.\s?p\.\s?a\.|s\.\s?l\.|k\.\s?k\.|a/s|s/a)\s*$"
# Names that may have a telling form, or one in single letters, which is found by parsing: one name in many has.
_FORMS = "|".join((*TELLING, *SPOKEN)).replace(" ", "[ .]*")
_PARSED = rf"(?i)(?:^|[^\p{{L}}])(?:{_FORMS}|\p{{L}}[ /]\p{{L}})(?:$|[^\p{{L}}])|" + "|".join(map(re.escape, JOINED))


def with_entities(records: pl.DataFrame) -> pl.DataFrame:
    """The records with `entity_type` (person or organisation) and `organisation_name`, null where none is known.

    A stated type decides. Else a record whose whole name ends in a legal form that no person's does is an
    organisation ("Kestrel" "Plumbing LLC"), and one that has the name of an organisation and of nobody. Who has a first
    name otherwise is a person, of the organisation that is named beside.
    """
    texts = {name: _text(records, name) for name in ("first_name", "last_name", "full_name", NAME, ENTITY)}
    texts[NAME] = pl.when(~plain_text(texts[NAME]).is_in(NO_FIRM)).then(texts[NAME])
    rows = records.with_columns(**texts).select(*texts)
    whole = pl.concat_str("first_name", "last_name", separator=" ", ignore_nulls=True)
    whole = pl.coalesce("full_name", pl.when(whole != "").then(whole))
    is_only = pl.any_horizontal(pl.col("first_name", "last_name").is_null())
    rows = rows.with_columns(whole=whole, only=pl.when(is_only).then(whole))
    stated = pl.col(ENTITY).str.to_lowercase().str.extract(r"([\p{L}\d]+)", 1).replace_strict(_KINDS, default=None)
    by_name = pl.col("whole").is_in(_with_forms(rows["whole"]).implode()) | pl.col("only").str.contains(_POINTED)
    nobody = pl.col("first_name").is_null() & pl.col("last_name").is_null() & pl.col("full_name").is_null()
    by_name = by_name.fill_null(False)
    kind = pl.when(stated.is_not_null()).then(stated).when(by_name | (nobody & pl.col(NAME).is_not_null()))
    own = pl.coalesce(NAME, "whole")
    rows = rows.with_columns(kind=kind.then(pl.lit(ORGANISATION)).otherwise(pl.lit(PERSON)))
    # Without any name nothing tells one organisation from another: such a record is resolved as people's are.
    entity = pl.when(own.is_null()).then(pl.lit(PERSON)).otherwise("kind")
    found = rows.select(entity.alias(ENTITY), pl.when(entity == ORGANISATION).then(own).otherwise(NAME).alias(NAME))
    return records.with_columns(found.to_struct("found").struct.unnest().get_columns())


def _with_forms(names: pl.Series) -> pl.Series:
    """The names that carry a legal form which is no part of a person's name."""
    texts = names.drop_nulls().unique()
    texts = texts.filter(texts.str.replace_all(r"[.'’]", "").str.contains(_PARSED))
    telling = [organisation_name(text).is_telling for text in texts]
    return texts.filter(pl.Series(telling, dtype=pl.Boolean))


def _text(records: pl.DataFrame, name: str) -> pl.Expr:
    if name not in records.columns:
        return pl.lit(None, pl.String)
    text = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)
