"""Kinds that are found by the name of their module: what a configuration calls ``kind`` is one class in one module."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any, TypeVar

from customer360.platform.errors import ConfigError

Kind = TypeVar("Kind")


def class_of(name: str, base: type[Kind], package: str, what: str) -> type[Kind]:
    """The one class that extends ``base`` in the module of ``package`` that ``name`` names, or in the dotted module.

    Raises:
        ConfigError: there is no such module, it holds no kind or several, or it needs one that is not installed.
    """
    module = name if "." in name else f"{package}.{name}"
    found = _kinds_in(module, base) if re.fullmatch(r"\w+(\.\w+)*", name) else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{module} holds {', '.join(c.__name__ for c in found)}: put each kind in a module of its own"
        )
    known = ", ".join(_known_kinds(base, package))
    raise ConfigError(f"there is no kind of {what} {name!r}; there are {known}, or the dotted name of a module")


def _kinds_in(module: str, base: type[Any]) -> list[type[Any]]:
    """Kinds lie above settings, so their modules are imported by name, and only those that a configuration names."""
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as fault:
        if fault.name and f"{module}.".startswith(f"{fault.name}."):
            return []
        raise ConfigError(f"{module} needs {fault.name}, which is not installed") from None
    own = [c for c in vars(loaded).values() if isinstance(c, type) and c.__module__ == module]
    return [c for c in own if issubclass(c, base) and not inspect.isabstract(c)]


def _known_kinds(base: type[Any], package: str) -> list[str]:
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [m.name for m in modules if not m.ispkg and _kinds_in(f"{package}.{m.name}", base)]
