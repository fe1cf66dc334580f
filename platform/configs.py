"""The files of ``configs/``: where they lie, and one YAML mapping with what it extends."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from customer360.platform.errors import ConfigError

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where PyYAML was built with it


MOST_VALUES, DEEPEST, MOST_BITS = 1_000_000, 100, 256


class _Loader(_Safe):
    """YAML as `safe_load` reads it, but for keys: ``on:`` is no truth value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
        return dict(super().construct_mapping(node, deep))


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One YAML mapping with ``extends`` resolved; ``above`` are the files that extend this one.

    Raises:
        ConfigError: the file is absent, is no YAML (with line and column), no mapping, or extends itself.
    """
    if not path.exists() and find(path.name).exists():
        path = find(path.name)
    if path.resolve() in above:
        raise ConfigError(f"{path} extends itself, by way of {', '.join(map(str, above))}")
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"settings file {path} does not exist") from None
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read: {fault.strerror}") from None
    except ValueError as fault:
        raise ConfigError(f"{path} is not valid YAML: {fault}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, not {type(content).__name__}")
    parent = content.pop("extends", None)
    if not isinstance(parent, str | None):
        raise ConfigError(f"{path}: extends names one file, not {type(parent).__name__}")
    return merged(read_yaml(path.parent / parent, (*above, path.resolve())), content) if parent else content


def parsed(text: str) -> Any:
    """A document of YAML.

    Raises:
        ValueError: it is none, a key stands twice in one of its mappings, or its anchors make more of it than anybody
            wrote.
    """
    try:
        content = _constructed(text)
    except (yaml.YAMLError, ValueError) as fault:
        raise ValueError(str(fault)) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    left = [(content, 0)]
    for _ in range(MOST_VALUES):
        if not left:
            return content
        value, depth = left.pop()
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels, or holds itself")
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ValueError("a number in it has too many digits")
        if isinstance(value, dict | list):
            left += [(each, depth + 1) for each in (value.values() if isinstance(value, dict) else value)]
    raise ValueError(f"it holds more than {MOST_VALUES:,} values, those that aliases repeat counted")


def _constructed(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if twice := _key_given_twice(node):
            where = f"line {twice.start_mark.line + 1}, column {twice.start_mark.column + 1}"
            raise ValueError(f"the key {twice.value} stands twice in one mapping, the second time in {where}")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _key_given_twice(document: yaml.Node) -> yaml.ScalarNode | None:
    """The second of two equal keys of a mapping: YAML allows none, and its parser would drop the first without a word.
    Asked before merge keys are resolved, as what is merged may well be given anew."""
    left, seen = [document], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if not isinstance(node, yaml.MappingNode):
            left += node.value
            continue
        keys = set[tuple[str, str]]()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = (key.tag.replace(":bool", ":str"), key.value)  # `on` is a name here
                if name in keys:
                    return key
                keys.add(name)
            left += (key, value)
    return None


def find(name: str) -> Path:
    """A file of ``configs/``: of the working directory first, else the one installed with the package."""
    return next((root / name for root in _roots() if (root / name).exists()), Path("configs") / name)


def listed(folder: str) -> dict[str, Path]:
    """The YAML files of a folder of ``configs/`` by stem; one of the working directory goes before an installed one."""
    found = {file.stem: file for root in reversed(_roots()) for file in sorted((root / folder).glob("*.yaml"))}
    return dict(sorted(found.items()))


def merged(below: Any, above: Any) -> Any:
    """Two values of YAML, mappings key by key; otherwise the one above."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {
        key: merged(below[key], above[key]) if key in below and key in above else {**below, **above}[key]
        for key in {**below, **above}
    }


def _roots() -> list[Path]:
    packaged = Path(str(resources.files("customer360"))) if _is_package() else Path()
    return [Path("configs"), packaged / "configs", Path(__file__).resolve().parents[1] / "configs"]


def _is_package() -> bool:
    try:
        resources.files("customer360")
    except (ModuleNotFoundError, TypeError):
        return False
    return True
