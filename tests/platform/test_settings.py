"""Settings: one reader, all faults together, environment over file over parent."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from customer360.platform.configs import parsed
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings, load, read_yaml


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_file(tmp_path: Path) -> None:
    found = load(write(tmp_path, "a.yaml", "name: mine\nlake: {buckets: 8}\n"), {})
    assert (found.name, found.lake.buckets, found.lake.root) == ("mine", 8, Settings().lake.root)
    assert load(write(tmp_path, "empty.yaml", ""), {}) == Settings()


def test_extends_merges_deeply_and_the_child_wins(tmp_path: Path) -> None:
    write(tmp_path, "top.yaml", "name: top\nlake: {buckets: 8, root: below}\n")
    write(tmp_path, "middle.yaml", "extends: top.yaml\nlake: {root: middle}\n")
    found = load(write(tmp_path, "a.yaml", "extends: middle.yaml\nname: mine\n"), {})
    assert (found.name, found.lake.buckets, found.lake.root) == ("mine", 8, "middle")


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "lake: {buckets: 8, root: r}\n")
    found = load(
        path, {"CUSTOMER360__LAKE__BUCKETS": "32", "CUSTOMER360__EXECUTION__RETRY__ATTEMPTS": "7", "OTHER": "x"}
    )
    assert (found.lake.buckets, found.lake.root, found.execution.retry.attempts) == (32, "r", 7)
    assert load(None, {"CUSTOMER360_CONFIG": str(path)}).lake.buckets == 8


def test_storage_options_are_text_however_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "lake: {storage_options: {aws_allow_http: true, aws_access_key_id: 123}}\n")
    found = load(
        path,
        {
            "CUSTOMER360__LAKE__STORAGE_OPTIONS__AWS_SECRET_ACCESS_KEY": "0123",
            "CUSTOMER360__LANDING_OPTIONS__TIMEOUT": "5",
        },
    )
    assert found.lake.storage_options == {
        "aws_allow_http": "true",
        "aws_access_key_id": "123",
        "aws_secret_access_key": "0123",
    }
    assert found.landing_options == {"timeout": "5"}


def test_all_faults_are_reported_together_with_their_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.yaml",
        "lake: {buckets: 0}\nodd: 1\nserve: {port: many}\nsources: {s: {table: t, system: 'no good', path: p, format: word}}\n",  # noqa: E501
    )
    with pytest.raises(ConfigError) as fault:
        load(path, {})
    text = str(fault.value)
    assert text.startswith(f"{path}: 5 fault(s)")
    for key in ("lake.buckets", "odd", "serve.port", "sources.s.system", "sources.s.format"):
        assert f"  {key}: " in text


def test_a_column_that_yaml_takes_for_a_truth_says_how_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    source = "sources: {s: {table: bronze.t, system: S, path: x, mapping: {ID: %s}}}\n"
    path.write_text(source % "no")
    with pytest.raises(ConfigError) as fault:
        load(path, {})
    assert "sources.s.mapping.ID" in str(fault.value) and "in quotes" in str(fault.value)
    path.write_text(source % "'\"no\"'")
    assert load(path, {}).sources["s"].model_dump()["mapping"] == {"ID": '"no"'}


def test_a_fault_never_shows_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        load(write(tmp_path, "a.yaml", "lake: {storage_options: {aws_secret_access_key: [hidden]}}\n"), {})
    assert "aws_secret_access_key" in str(fault.value) and "hidden" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML"),
        ("- 1\n", "must hold a mapping, not list"),
        ("extends: gone.yaml\n", "gone.yaml does not exist"),
        ("extends: [a.yaml]\n", "extends names one file, not list"),
        ("name: 2001-99-99\n", "not valid YAML: month"),
        ("serve:\n  port: 1\nserve: {}\n", "not valid YAML: the key serve stands twice .* line 3, column 1"),
        ("sources: {a: {map: {id: A, on: B, on: C}}}", "the key on stands twice"),
        ("sources: [{a: 1}, {b: 1, c: {d: 1, d: 1}}]", "the key d stands twice"),
        ("serve: {port: " + "9" * 10_000 + "}", "not valid YAML: .*digits"),
        ("serve: {port: 0x" + "f" * 10_000 + "}", "too many digits"),
        ("sources: " + "[" * 20_000 + "]" * 20_000, "nested deeper"),
        ("sources: &a {b: *a}\n", "or holds itself"),
        ("name: !!python/object/apply:os.system [id]\n", "not valid YAML: could not determine"),
        (
            "\n".join(["l0: &l0 [x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))]),
            "more than 1,000,000 values",
        ),
    ],
)
def test_unreadable_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path, "broken.yaml", text), {})


def test_files_that_extend_each_other(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        load(write(tmp_path, "a.yaml", "extends: b.yaml\n"), {})


def test_environment_that_is_no_yaml_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CUSTOMER360__NAME"):
        load(write(tmp_path, "a.yaml", ""), {"CUSTOMER360__NAME": "[x"})
    with pytest.raises(ConfigError, match="CUSTOMER360__NAME"):
        load(write(tmp_path, "a.yaml", ""), {"CUSTOMER360__NAME": "2001-99-99"})


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match=r"a.yaml is not valid YAML: 'utf-8'"):
        load(tmp_path / "a.yaml", {})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load(tmp_path, {})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().name = "other"


@pytest.mark.parametrize("delimiter", ["", "||", "é"])
def test_a_delimiter_is_one_ascii_character(tmp_path: Path, delimiter: str) -> None:
    path = write(
        tmp_path, "a.yaml", f"sources: {{s: {{table: t, system: S, path: p, format: csv, delimiter: '{delimiter}'}}}}\n"
    )
    with pytest.raises(ConfigError, match=r"sources\.s\.delimiter"):
        load(path, {})


@pytest.mark.parametrize("name", ["base.yaml", "local.yaml", "cluster.yaml"])
def test_shipped_files_load(name: str) -> None:
    path = Path(__file__).parents[2] / "configs" / name
    if path.exists():
        assert load(path, {}).lake.buckets >= 1


def test_a_key_called_on_is_no_truth_value(tmp_path: Path) -> None:
    content = read_yaml(write(tmp_path, "a.yaml", "join: {orders: {on: {a: b}, first: on}}\nyes: 1\n"))
    assert content == {"join": {"orders": {"on": {"a": "b"}, "first": True}}, "yes": 1}


def test_what_is_merged_may_be_given_anew() -> None:
    text = "low: &low {p: 1}\nmid: {in: &mid {<<: *low, p: 2}}\ntop: {<<: *mid, p: 3}\n"
    assert parsed(text) == {"low": {"p": 1}, "mid": {"in": {"p": 2}}, "top": {"p": 3}}
