"""The search of many files: the largest first, in as many processes as units of work may use; those of equal content
once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import groupby

from customer360.platform import telemetry
from customer360.platform.settings import ExecutionSettings
from customer360.platform.traces import Traces
from customer360.platform.traces.search import Hit, nothing_in
from customer360.serve.rights.stores import Store

WORTH_IT = 128 << 20  # bytes from which on further processes are started: each takes seconds to come up
SMALL = 1 << 16  # bytes up to which files are looked at together
_COMPANY = 64  # of them
_TOGETHER = 4 << 20  # bytes of small files that a process is given at once
_UNASKED = 1 << 20  # bytes that a file counts whose store does not tell its size
Found = tuple[Store, str, int]  # a file of a store, by its path there, and its size in bytes


@dataclass(frozen=True)
class Searcher:
    """Searches files one by one; ``known`` are digests of contents that hold nothing."""

    traces: Traces
    known: set[bytes] = field(default_factory=set)

    def search(self, files: Sequence[Found]) -> list[Hit | None]:
        clean = self.clean(files)
        return [
            None if at in clean else store.search(self.traces, path, self.known)
            for at, (store, path, _) in enumerate(files)
        ]

    def clean(self, files: Sequence[Found]) -> set[int]:
        """Which of some files hold nothing, of small ones that are looked at together: none of those in whose company
        one holds something, or cannot be told from others."""
        found: set[int] = set()
        small = [at for at, (store, _, size) in enumerate(files) if "://" not in store.root and size <= SMALL]
        for first in range(0, len(small), _COMPANY):
            company = small[first : first + _COMPANY]
            contents = [(files[at][0].place(files[at][1]), files[at][0].plain(files[at][1])) for at in company]
            told = [(place, data) for place, data in contents if data is not None]
            if nothing_in(self.traces, told):
                found |= {at for at, (_, data) in zip(company, contents, strict=True) if data is not None}
        return found


def search(files: Sequence[Found], traces: Traces, execution: ExecutionSettings) -> list[Hit | None]:
    """What each file holds, in the order given, however many processes look."""
    tasks = list(_tasks(files))
    found: list[Hit | None] = [None] * len(files)
    for task, hits in zip(tasks, _searched([[files[at] for at in task] for task in tasks], traces, execution),
                          strict=True):  # fmt: skip
        for at, hit in zip(task, hits, strict=True):
            found[at] = hit
    return found


def _tasks(files: Sequence[Found]) -> Iterator[list[int]]:
    """Which files a process is given at once. Files of one size stay together: they may be equal."""
    weights = [size or _UNASKED if "://" in store.root else size for store, _, size in files]
    order = sorted(range(len(files)), key=lambda at: (-weights[at], at))
    task: list[int] = []
    for _, alike in groupby(order, key=lambda at: weights[at]):
        task += alike
        if sum(weights[at] for at in task) >= _TOGETHER:
            yield task
            task = []
    if task:
        yield task


def _searched(tasks: Sequence[list[Found]], traces: Traces, execution: ExecutionSettings) -> Iterator[list[Hit | None]]:
    weight = sum(size or (_UNASKED if "://" in store.root else 0) for task in tasks for store, _, size in task)
    processes = min(execution.cpus or os.cpu_count() or 1, len(tasks))
    done = 0
    if processes > 1 and weight >= WORTH_IT and not multiprocessing.current_process().daemon:
        try:
            for hits in _in_processes(tasks, traces, processes):
                yield hits
                done += 1
        except BrokenProcessPool:  # killed, perhaps for memory: what is left is looked at here, a file at a time
            telemetry.event("a process that searched for traces died; what is left is searched in one")
    searcher = Searcher(traces)
    for task in tasks[done:]:
        yield searcher.search(task)


def _in_processes(tasks: Sequence[list[Found]], traces: Traces, processes: int) -> Iterator[list[Hit | None]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(traces,)) as pool:
        try:
            yield from pool.map(_search, tasks)
        finally:
            pool.shutdown(cancel_futures=True)


_here: list[Searcher] = []  # of a process that searches for another


def _begin(traces: Traces) -> None:
    _here.append(Searcher(traces))


def _search(task: list[Found]) -> list[Hit | None]:
    return _here[-1].search(task)
