"""The proof of an erasure: every byte of every store, searched for what tells the person; signed, without a value.

A report says what was looked for (how many values of which kind), where, how many files and bytes, what was too common
to tell, and what remains: the file and the kind, never the value. It is signed with the lake's secret, so that nobody
without the lake can make one, and its digest stands in the audit.
"""

from __future__ import annotations

import glob
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from customer360.platform import audit, erasure_list, privacy, telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.platform.traces import Traces
from customer360.platform.traces.search import Hit
from customer360.serve.compose import state_folder
from customer360.serve.rights.searching import Found, search
from customer360.serve.rights.stores import LANDING, NOTES, Store, stores

FOLDER = "erasures"  # of the reports, in the state folder
FORMAT = 1


class NotSigned(Customer360Error):
    """A report is not as this lake's erasure wrote it."""


@dataclass(frozen=True)
class Remains:
    """A file that still tells who the person is: kinds of values, or why it cannot be looked at. Where its own name
    does, the name is covered. ``size`` and ``digest`` (keyed) find it again where its content tells."""

    store: str
    place: str
    kinds: tuple[str, ...]
    unread: str = ""
    size: int | None = None
    digest: str = ""


@dataclass(frozen=True)
class Proof:
    """What a search found. ``searched`` and ``too_common``: values by kind; ``looked_at``: files and bytes by store."""

    person: str  # keyed digest of its id
    made_at: str
    searched: dict[str, int]
    too_common: dict[str, int]
    looked_at: dict[str, dict[str, int]]
    remains: tuple[Remains, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether something was looked for, and nothing of it is anywhere."""
        return bool(self.searched) and not self.remains

    @property
    def is_landing_alone(self) -> bool:
        """Whether what remains lies in the landing zone, whose files are not the platform's."""
        return {each.store for each in self.remains} == {LANDING}


def prove(settings: Settings, person: str, traces: Traces, also: tuple[Path, ...] = ()) -> Proof:
    """Search every store. Nothing is changed."""
    lake, looked_at = lake_of(settings), dict[str, dict[str, int]]()
    files: list[Found] = []
    for store in stores(settings, also):
        paths = [path for path in store.paths() if not (store.name == "lake" and path.startswith(NOTES))]
        found = [(store, path, store.size(path) or 0) for path in paths]
        looked_at[f"{store.name} {store.root}"] = {"files": len(found), "bytes": sum(size for _, _, size in found)}
        files += found
    hits = zip(files, search(files, traces, settings.execution), strict=True)
    remains = [_remains(lake, store, traces, path, hit) for (store, path, _), hit in hits if hit]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    who = erasure_list.person_digest(lake, person)
    return Proof(who, now, traces.kinds, traces.common, looked_at, tuple(remains))


def _remains(lake: Lake, store: Store, traces: Traces, path: str, hit: Hit) -> Remains:
    place = traces.covered(hit.place, privacy.MASK)
    found = Remains(store.name, place, hit.kinds, hit.unread)
    if place != hit.place and store.search(traces, path, is_named=False) is None:
        return found  # its name alone tells
    return replace(found, size=store.size(path), digest=_keyed(lake, store.digest(path)))


def _keyed(lake: Lake, digest: str) -> str:
    """A digest by which nobody can try what a small file held."""
    return erasure_list.keyed_digest(lake, f"FILE/{digest}") if digest else ""


# ---- signed reports -------------------------------------------------------------------------------------------------


def write_report(settings: Settings, proof: Proof) -> Path:
    """Sign a proof, write it below the state folder, and note its digest in the audit."""
    lake, state = lake_of(settings), state_folder(settings)
    home = state / FOLDER
    home.mkdir(mode=0o700, exist_ok=True)
    body = {"format": FORMAT, **asdict(proof), "is_clean": proof.is_clean}
    signed = {**body, "signature": _signature(lake, body)}
    text = json.dumps(signed, indent=2, ensure_ascii=False)
    file = home / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{proof.person[:12]}.json"
    file.write_text(text + "\n", encoding="utf-8")
    file.chmod(0o600)
    said = "clean" if proof.is_clean else f"{len(proof.remains)} files remain"
    audit.append(state, name="command", asked=f"erase --prove: {said}", person=proof.person,
                 report=hashlib.sha256(text.encode()).hexdigest())  # fmt: skip
    return file


def verify_report(settings: Settings, file: Path) -> dict[str, Any]:
    """The content of a report whose signature is this lake's.

    Raises:
        NotSigned: it was changed, is of another lake, or is no report.
    """
    try:
        signed: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        signature = str(signed.pop("signature"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise NotSigned(f"{file} is no report of an erasure that can be read") from None
    if not hmac.compare_digest(signature, _signature(lake_of(settings), signed)):
        raise NotSigned(f"{file} is not as it was signed, or of another lake")
    return signed


def newest_report(settings: Settings, person: str) -> tuple[Path, dict[str, Any]] | None:
    """The last report on an erased person, by its digest; None where its erasure was not proven.

    Raises:
        NotSigned: it was changed.
    """
    found = sorted((state_folder(settings) / FOLDER).glob(f"*-{person[:12]}.json"))
    return (found[-1], verify_report(settings, found[-1])) if found else None


def standing_remains(settings: Settings, report: dict[str, Any]) -> list[str]:
    """Files that a report names and that are still somewhere, but for landing files, which are not the platform's:
    found by content, whatever they are named now, and by name where the name tells. One that has its name and another
    content was written anew; that nobody can search it any more is said."""
    also = tuple(Path(key.removeprefix("also ")) for key in report["looked_at"] if key.startswith("also "))
    files = [(s, path) for s in stores(settings, also) if s.name != LANDING for path in s.paths()]
    named = [each for each in report["remains"] if each["store"] != LANDING]
    contents = _contents(lake_of(settings), files, {each.get("size") for each in named if each.get("digest")})
    standing, rewritten = [], []
    for each in named:
        alike = [store for store, path in files if store.name == each["store"] and _is_at(each["place"], store, path)]
        by_name = privacy.MASK in each["place"] or not each.get("digest")  # none: a report of before
        if (by_name and alike) or (each.get("digest") in contents):
            standing.append(each["place"])
        elif alike:
            rewritten.append(each["place"])
    if rewritten:
        telemetry.log.warning(
            f"written anew since the report, and not searched for the person again: {', '.join(sorted(rewritten))}"
        )
    return sorted(standing)


def _is_at(place: str, store: Store, path: str) -> bool:
    """Whether a place of a report is a file; values in names are covered there."""
    return fnmatchcase(store.place(path), "*".join(glob.escape(part) for part in place.split(privacy.MASK)))


def _contents(lake: Lake, files: list[tuple[Store, str]], sizes: set[int | None]) -> set[str]:
    """Keyed digests of the files that have one of some sizes; of all where a size is not known."""
    alike = [(s, path) for s, path in files if sizes and (None in sizes or s.size(path) in {None, *sizes})]
    return {_keyed(lake, digest) for store, path in alike if (digest := store.digest(path))}


def _signature(lake: Lake, body: dict[str, Any]) -> str:
    return erasure_list.keyed_digest(
        lake, json.dumps(body, sort_keys=True, ensure_ascii=False, default=list), length=64
    )
