"""The documents tell the truth: generated parts are current, links and anchors lead somewhere, commands and keys
exist.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from customer360.pipelines.vocabulary import MEANINGS
from customer360.platform import catalogue
from customer360.serve.compose import compose

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
LONGEST = {"README.md": 130}  # lines
EXAMPLES = {
    *("pipelines/gold/loyalty.py", "models/repeat.py", "configs/models/repeat.yaml", "serve/api/bestsellers.py"),
    *("platform/sources/sqlite.py", "serve/console/runs.py", "serve/console/templates/runs.html"),
}  # that the recipes make


@cache
def tracked() -> tuple[Path, ...]:
    """What git knows, as scratch folders hold pages of others; in an unpacked copy without git, what lies there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return tuple(sorted(f for f in found or ROOT.rglob("*") if f.is_file() and not f.is_symlink()))


PAGES = sorted(f.relative_to(ROOT).as_posix() for f in tracked() if f.suffix == ".md")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def prose_of(page: str) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", text_of(page))


@cache
def anchors_of(page: str) -> frozenset[str]:
    """The anchors of a page: those of its headings as GitHub makes them, and those set by hand."""
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', prose_of(page)))
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", prose_of(page), re.M):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]+>", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number, name = 0, slug
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return frozenset(found)


def faults_of(page: str) -> list[str]:
    """Links of a page that lead nowhere."""
    faults = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", prose_of(page))):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            faults.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md":
            name = target.resolve().relative_to(ROOT).as_posix()
            faults += [] if anchor in anchors_of(name) else [f"{link}: no such anchor"]
    return faults


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    assert not faults_of(page)


def test_the_index_leads_to_every_page() -> None:
    """From docs/index.md every page can be reached."""
    reached, open_pages = set(), ["docs/index.md"]
    while open_pages:
        page = open_pages.pop()
        reached.add(page)
        for link in LINK.findall(prose_of(page)):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target.is_relative_to(ROOT):
                name = target.relative_to(ROOT).as_posix()
                open_pages += [name] if name not in reached else []
    lost = sorted(set(PAGES) - reached)
    assert not lost, f"nothing leads to {', '.join(lost)}: ignore the folder, or link it from docs/index.md"


@pytest.mark.parametrize("page", sorted(LONGEST))
def test_pages_keep_to_their_length(page: str) -> None:
    assert len(text_of(page).splitlines()) <= LONGEST[page]


def test_no_file_holds_conflict_markers() -> None:
    marker = re.compile(rb"^(<{7} |={7}$|>{7} |\|{7} )", re.M)
    found = [
        f.relative_to(ROOT).as_posix()
        for f in tracked()
        if b"\0" not in (data := f.read_bytes()) and marker.search(data)
    ]
    assert not found


def test_no_entry_of_the_changelog_stands_twice() -> None:
    entries = re.findall(r"^- (.*)$", text_of("CHANGELOG.md"), re.M)
    assert len(entries) == len(set(entries))


def test_the_catalogue_is_current(tmp_path: Path) -> None:
    compose()
    for page in catalogue.write(tmp_path / "docs" / "tables", MEANINGS):
        committed = ROOT / "docs" / "tables" / page.name
        assert committed.read_text() == page.read_text(), f"{committed} is stale: run `customer360 catalog`"


def test_the_matrix_is_current() -> None:
    page = text_of("docs/requirements.md")
    written = catalogue.with_matrix(page, ROOT / catalogue.REQUIREMENTS)
    assert written == page, "docs/requirements.md is stale: run `customer360 catalog`"


def test_the_sketch_of_the_tree_is_current() -> None:
    page = text_of("docs/concepts.md")
    assert catalogue.with_sketch(page, ROOT) == page, "docs/concepts.md is stale: run `customer360 catalog`"


@pytest.mark.parametrize("package", catalogue.PACKAGES)
def test_the_page_of_a_package_names_its_folders(package: str) -> None:
    """Every folder of a package has its line, down to the second level, and every line its folder."""
    named = set(catalogue.folders(text_of(f"{package}/README.md")))
    there = {
        parent.relative_to(ROOT / package).as_posix()
        for file in tracked()
        if file.is_relative_to(ROOT / package)
        for parent in file.parents
        if parent.is_relative_to(ROOT / package) and parent != ROOT / package and parent.name != "templates"
    }
    assert {folder for folder in there if folder.count("/") < 2} == {f for f in named if f.count("/") < 2}
    assert named <= there


NUMBERED = {"fault": "docs/specification.md", "law": "platform/README.md"}


@pytest.mark.parametrize("kind", sorted(NUMBERED))
def test_numbers_in_code_and_documents_stand_in_a_list_that_can_be_opened(kind: str) -> None:
    """ "Fault 17" or "laws 6 and 9", wherever it is written, has its anchor."""
    known = {int(n) for a in anchors_of(NUMBERED[kind]) if (n := a.removeprefix(f"{kind}-")).isdigit()}
    named = set()
    for file in tracked():
        if file.suffix in (".py", ".md", ".yaml", ".toml", ".html"):
            for numbers in re.findall(rf"\b{kind}s? (\d+(?:(?:, | and )\d+)*)", file.read_text(encoding="utf-8")):
                named |= set(map(int, re.findall(r"\d+", numbers)))
    assert named, f"nothing names a {kind}: this test looks for the wrong words"
    assert named <= known


def modules_named(page: str) -> set[str]:
    """Paths of modules and files in backticks that begin with one of our folders."""
    tops = "platform|pipelines|models|serve|configs|tests|docs"
    return set(re.findall(rf"`((?:{tops})/[\w./-]+\.\w+)`", prose_of(page)))


@pytest.mark.parametrize("page", [p for p in PAGES if not p.startswith("docs/tables/")])
def test_files_that_a_page_names_exist(page: str) -> None:
    assert not {name for name in modules_named(page) if not (ROOT / name).exists()} - EXAMPLES


def test_the_benchmarks_name_every_script() -> None:
    """Each script that makes figures is named with them, and each named script exists."""
    named = set(re.findall(r"tests/bench/(\w+\.py)", text_of("docs/benchmarks.md")))
    without_figures = {"conditions.py", "dying.py", "people.py", "fuzz_files.py", "fuzz_mappings.py"}
    assert named == {file.name for file in (ROOT / "tests" / "bench").glob("*.py")} - without_figures


@pytest.fixture(scope="module")
def commands() -> dict[str, frozenset[str]]:
    """Options by command: `run`, `identity resolve`, …"""
    import typer.main

    from customer360.serve.cli import app

    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        for words, leaf in {name: command, **{f"{name} {n}": c for n, c in inner.items()}}.items():
            options = [o for p in leaf.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")]
            found[words] = frozenset(options)
    return found


def lines_with_commands(page: str) -> list[str]:
    """What a page shows of the command line: code in backticks, and lines of blocks, comments cut off."""
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```", text_of(page), re.M | re.S)
    shell = [line.split(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [
        text
        for text in [*re.findall(r"`([^`\n]+)`", prose_of(page)), *shell]
        if "customer360 " in text or "serve.cli " in text
    ]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_exist(page: str, commands: dict[str, frozenset[str]]) -> None:
    """Every command with its options, as a page writes it."""
    faults = []
    for line in lines_with_commands(page):
        for call in re.findall(r"(?:(?<![\w./-])customer360|customer360\.serve\.cli) ([^;&|]+)", line):
            words = re.sub(r'"[^"]*"|\'[^\']*\'', "TEXT", call).split()
            first, second = words[0], " ".join(words[:2])
            names = [n for word in first.split("|") for n in ([f"{word} {second.partition(' ')[2]}", word])]
            known = next((n for n in names if n in commands), None)
            if known is None and re.fullmatch(r"[a-z][a-z-]*", first):
                faults.append(f"{line!r}: no command {first!r}")
                continue
            has_group = any(n.startswith(f"{first} ") for n in commands)
            if has_group and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]) and second not in commands:
                faults.append(f"{line!r}: no command {second!r}")
            options = {w.partition("=")[0] for w in words if re.match(r"--?[a-z]", w)} - {"--help"}
            unknown = options - commands.get(known or "", frozenset())
            faults += [f"{line!r}: {known} has no option {option}" for option in sorted(unknown)]
    assert not faults


@pytest.mark.parametrize("page", PAGES)
def test_the_make_targets_of_a_page_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z]+)", text_of(page), re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_cleaning_removes_nothing_that_somebody_made() -> None:
    recipe = re.search(r"^clean:.*\n((?:\t.*\n?)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    removed = [word for line in recipe[1].splitlines() if line.strip().startswith("rm") for word in line.split()[2:]]
    assert removed and all(re.fullmatch(r"\.[a-z_]+_cache", word) for word in removed), removed
