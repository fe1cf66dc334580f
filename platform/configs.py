"""The files of ``configs/``: where they lie, and one YAML mapping with what it extends."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from customer360.platform.errors import ConfigError

_Safe = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same values, eight times as fast


class _Loader(_Safe):  # type: ignore[misc, valid-type]
    """YAML as `safe_load` reads it, but for keys: ``on:`` is no truth value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


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
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(f"settings file {path} does not exist") from None
    except yaml.YAMLError as fault:
        raise ConfigError(f"{path} is not valid YAML: {fault}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, not {type(content).__name__}")
    parent = content.pop("extends", None)
    return merged(read_yaml(path.parent / parent, (*above, path.resolve())), content) if parent else content


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
