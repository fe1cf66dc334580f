"""What the policy does not keep any longer leaves lake and state folder: with every run that lands sources, and by
`customer360 lake retire`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer360.pipelines import last_complete_day_end, policy
from customer360.pipelines.rules import PolicyRules
from customer360.platform import audit, graph, retention, telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.lake.upkeep import KEPT
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.compose import rules_of, state_folder
from customer360.serve.once import FOLDER as CHANGES
from customer360.serve.rights.proof import FOLDER as REPORTS
from customer360.serve.rights.purge import EXPORTS

FOLDERS = {"changes": CHANGES, "erasures": REPORTS, "exports": EXPORTS}


def rules(settings: Settings) -> PolicyRules:
    """The rule file `policy`."""
    found = rules_of(settings)["policy"]
    assert isinstance(found, PolicyRules)
    return found


def periods(settings: Settings) -> dict[str, int]:
    """Days by table that says for how long it is kept.

    Raises:
        ConfigError: the policy names a table that cannot be kept for a time.
    """
    days = policy.keep_days(rules(settings))
    retention.checked(days)
    return days


def say_ageless(settings: Settings) -> None:
    """One line on the tables that a policy reaches and cannot shorten; raises ConfigError as `periods`."""
    periods(settings)
    if stay := policy.ageless(rules(settings)):
        telemetry.event(f"keep_days: rows of {', '.join(stay)} do not say when they are from and stay until erased")


def without_old_versions(settings: Settings) -> Settings:
    """The settings of a run under a policy that keeps something for a time: versions of tables, which hold what is gone
    from the current one, go after 30 days unless `lake.keep_days` says otherwise."""
    if settings.lake.keep_days is not None or not periods(settings):
        return settings
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"keep_days": KEPT.days})})


def retire_old(settings: Settings) -> bool:
    """Take out of the lake what the policy does not keep any longer, counted back from the last complete day of the
    data, as far as that is known. Whether rows left that something is built on. Call it under the run lock."""
    gone, days = retired(settings), periods(settings)
    for table, rows in gone.items():
        telemetry.event(f"retired: {rows:,} rows of {table}, older than {days[table]:,} days", table=table)
    return any(retention.way(table) == "rows" for table in gone)


def retired(settings: Settings, *, dry_run: bool = False) -> dict[str, int]:
    """As `retire_old`, without a word: rows by table that left, or would leave."""
    lake, days = lake_of(settings), periods(settings)
    if not days or not all(map(lake.exists, graph.DATE_TABLES)):
        return {}
    return retention.retire(lake, days, last_complete_day_end(lake, settings.zones), dry_run=dry_run)


def tidy(settings: Settings) -> None:
    """`retire_files`; a fault is said, and fails no run."""
    try:
        retire_files(settings)
    except (Customer360Error, OSError) as fault:
        telemetry.log.error(f"old files of the state folder were not deleted: {fault}")


def retire_files(settings: Settings, *, dry_run: bool = False) -> dict[str, int]:
    """Delete what the state folder keeps longer than the policy says, by when it was written. Files by kind that went,
    or would go, of the audit its lines."""
    state, now, done = state_folder(settings), datetime.now(UTC), dict[str, int]()
    for kind, days in rules(settings).state_days.items():
        if days is None:
            continue
        before = now - timedelta(days=days)
        if kind == "audit":
            done[kind] = audit.forget(state, before.date(), dry_run=dry_run)
        else:
            done[kind] = _delete(state / FOLDERS[kind], before, dry_run)
        if done[kind] and not dry_run:
            telemetry.event(f"retired: {done[kind]:,} {kind} of the state folder, older than {days:,} days")
    return {kind: count for kind, count in done.items() if count}


def _delete(folder: Path, before: datetime, dry_run: bool) -> int:
    """Delete files below a folder that were written before a moment, and folders that are empty then."""
    old = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.lstat().st_mtime < before.timestamp()]
    for file in [] if dry_run else old:
        file.unlink(missing_ok=True)
        with suppress(OSError):
            if file.parent != folder:
                file.parent.rmdir()
    return len(old)
