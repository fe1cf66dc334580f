"""One thing has one word: what is shown, not shown or not known is called the same in every gold table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from customer360.pipelines.inference.verdicts import SILENT, UNSHOWN, WORDS
from customer360.platform import tables
from customer360.platform.tables import OneOf
from customer360.serve.compose import compose

compose()
GOLD = sorted(name for name in tables.TABLES if name.startswith("gold."))
MODULES = sorted(Path("pipelines/gold").rglob("*.py"))
# Words that say "not known" or "not shown" must be those of the vocabulary.
HEDGED = re.compile(r"^(?:TOO_\w+|NOT_ENOUGH\w*|INSUFFICIENT\w*|ENOUGH|OK|TOLD|CONSTANT|NO_(?:EFFECT|DIFFERENCE|CHANGE|EVIDENCE|LOSS|REACTION)\w*)$")  # fmt: skip  # noqa: E501


def choices(table: str) -> dict[str, set[str]]:
    columns = tables.by_name(table).columns()
    return {name: set(column.values) for name, column in columns.items() if isinstance(column, OneOf)}


@pytest.mark.parametrize("table", GOLD)
def test_a_table_names_what_it_cannot_say_by_the_common_words(table: str) -> None:
    for column, words in choices(table).items():
        odd = {word for word in words if HEDGED.match(word)} - WORDS
        assert not odd, f"{table}.{column}: {sorted(odd)}; pipelines.inference.verdicts has the words"
        assert len(words & UNSHOWN) <= 1, f"{table}.{column} names one absence twice"


def test_the_vocabulary_is_used() -> None:
    said = {word for table in GOLD for words in choices(table).values() for word in words}
    assert said >= SILENT | UNSHOWN


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_spells_a_verdict_itself(module: Path) -> None:
    """So that a new word is added once, where the others stand."""
    spelt = {node.value for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Constant)}
    assert not {word for word in spelt if isinstance(word, str)} & (WORDS - {"MEASURED"})
