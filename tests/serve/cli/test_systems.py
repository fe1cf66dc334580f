"""`customer360 systems`: what there is, the sources of one recipe to paste, and which recipes fit a file."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from customer360.platform import systems
from customer360.platform.errors import ConfigError
from customer360.platform.settings import load
from customer360.serve import cli


def shown(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["systems", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_every_recipe_is_listed_with_its_tables() -> None:
    lines = shown().splitlines()
    for name, export in systems.exports().items():
        line = next(line for line in lines if line.strip().startswith(f"{name} "))
        assert all(table.removeprefix("bronze.") in line for table in export.tables)
    assert "stripe" not in shown("shopify").lower()


def test_what_is_printed_loads_as_the_recipe_does(tmp_path: Path) -> None:
    for name in ("shopify/orders_csv", "olist/order_items_csv", "snowplow/enriched_tsv"):
        pasted, short = tmp_path / "pasted.yaml", tmp_path / "short.yaml"
        pasted.write_text(shown(name), encoding="utf-8")
        key = name.partition("/")[0]
        short.write_text(f"sources: {{{key}: {{recipe: {name}, path: CHANGE/*}}}}", encoding="utf-8")
        assert load(pasted, {}).sources == load(short, {}).sources


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "any.csv"
    file.write_text("Email,Klaviyo ID,Email Marketing Consent\na@x.example,1,SUBSCRIBED\n", encoding="utf-8")
    assert shown("--file", str(file)).split() == ["klaviyo/profiles_csv"]
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    assert "no recipe fits" in shown("--file", str(file), code=1)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    result = CliRunner().invoke(cli.app, ["systems", "shopfy"])
    assert isinstance(result.exception, ConfigError) and "shopify/" in str(result.exception)
