"""Runs in the words of OpenLineage: events of start and end, with the tables that were read and written.

Each run of the platform is a run of OpenLineage, and so is every node of it that was built or failed, with the run as
its parent; what was current did not run. Events hold names of tables and columns, counts and moments, and no value of
any row: of a fault they name the class and the node, since its words may quote what it met.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from customer360.platform import graph, quality, stars, tables
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.lineage.columns import of_node
from customer360.platform.lineage.plans import ANY, Uses
from customer360.platform.settings import Settings

PRODUCER = "urn:customer360"
SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
BASE = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/BaseFacet"  # of facets that are ours alone
FACETS = {
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet",
    "dataQualityAssertions": "1-1-0/DataQualityAssertionsDatasetFacet",
    "dataQualityMetrics": "1-0-3/DataQualityMetricsInputDatasetFacet",
    "documentation": "1-1-0/DocumentationDatasetFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "nominalTime": "1-0-1/NominalTimeRunFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
    "parent": "1-2-0/ParentRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "storage": "1-0-1/StorageDatasetFacet",
    "symlinks": "1-0-1/SymlinksDatasetFacet",
    "tags": "1-0-0/TagsDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
}
COUNTS = ("read", "landed", "dead", "left_out", "collapsed", "erased", "bronze", "silver", "quarantined", "duplicates",
          "superseded", "combined", "deleted", "set_apart", "nulled", "rescued")  # fmt: skip
RAN = ("built", "failed", "blocked")
_CLASS = re.compile(
    r"(?:^|: )([A-Z]\w*(?:Error|Exception|Fault|Full|Interrupt|Exit|Landed|Locked|Gone|Missing|Timeout|Batch|Denied"
    r"|Schema|Open))(?=: |$)"
)
_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)

Event = dict[str, Any]


def facet(name: str, /, **said: Any) -> dict[str, Any]:
    """A facet by its name in an event, ours where the specification knows none."""
    known = FACETS.get(name)
    url = f"{SPEC}/facets/{known}.json#/$defs/{known.split('/')[1]}" if known else BASE
    return {"_producer": PRODUCER, "_schemaURL": url, **said}


def run_id(run: str, node: str = "") -> str:
    """The id of a run, or of a node's part in it: always the same, so that events that are sent again are the same."""
    return str(uuid.uuid5(_ROOT, f"{run}/{node}"))


@dataclass(frozen=True)
class Words:
    """What events are made with: the settings, and the rule files as typed values by kind."""

    settings: Settings
    rules: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        return self.settings.openlineage.namespace or self.settings.name

    # ---- events -----------------------------------------------------------------------------------------------

    def started(self, run: Run) -> Event:
        """The start of a run."""
        return self._event("START", run.started_at, self._run(run), self._job(_command(run), "RUN"))

    def ended(self, run: Run, failed: Mapping[str, str], at: str, fault: str = "") -> Event:
        """The end of a run; ``failed`` are reasons by node, ``fault`` is the class of what ended it before its end."""
        reason = fault or "; ".join(f"{name}: {_class_of(why)}" for name, why in failed.items())
        facets = {"errorMessage": _error(reason)} if reason else {}
        kind = "FAIL" if reason else "COMPLETE"
        return self._event(kind, at, self._run(run, **facets), self._job(_command(run), "RUN"))

    def of_node(self, run: Run, node: NodeRun, at: datetime, versions: Mapping[str, int]) -> Iterator[Event]:
        """Start and end of a node that ran; ``versions`` are the Delta versions of its tables, where known."""
        if node.state not in RAN:
            return
        parent = facet("parent", run={"runId": run_id(run.id)}, job=self._name(_command(run)))
        made = {"runId": run_id(run.id, f"{node.node}{node.facts.get('seq', '')}"), "facets": {"parent": parent}}
        job = self._job(_job_name(node.node), "LANDING" if _source(node.node) else "BUILD")
        inputs = self._inputs(node)
        began = (at - timedelta(seconds=node.seconds)).isoformat()
        yield self._event("START", began, made, job, inputs)
        if node.state != "built":
            told = {
                **made,
                "facets": {
                    "parent": parent,
                    "errorMessage": _error(
                        f"{node.node}: {_class_of(node.reason) if node.state == 'failed' else node.state}"
                    ),
                },
            }
            yield self._event("FAIL", at.isoformat(), told, job, inputs)
            return
        yield self._event("COMPLETE", at.isoformat(), made, job, inputs, self._outputs(node, versions))

    def _event(
        self, kind: str, at: str, run: Any, job: Any, inputs: list[Any] | None = None, outputs: list[Any] | None = None
    ) -> Event:
        return {
            "eventType": kind, "eventTime": at, "run": run, "job": job, "inputs": inputs or [],
            "outputs": outputs or [], "producer": PRODUCER, "schemaURL": EVENT,
        }  # fmt: skip

    def _run(self, run: Run, **facets: Any) -> dict[str, Any]:
        engine = facet("processing_engine", version=pl.__version__, name="polars")
        known = {"processing_engine": engine, **facets}
        if run.as_of:
            known["nominalTime"] = facet("nominalTime", nominalStartTime=f"{run.as_of}T00:00:00Z")
        return {"runId": run_id(run.id), "facets": known}

    def _name(self, job: str) -> dict[str, str]:
        return {"namespace": self.namespace, "name": job}

    def _job(self, job: str, kind: str) -> dict[str, Any]:
        told = facet("jobType", processingType="BATCH", integration="CUSTOMER360", jobType=kind)
        return {**self._name(job), "facets": {"jobType": told}}

    # ---- datasets ---------------------------------------------------------------------------------------------

    def _inputs(self, node: NodeRun) -> list[dict[str, Any]]:
        if source := _source(node.node):
            return [self._delivered(source, node.facts)] if source in self.settings.sources else []
        declared = graph.NODES.get(node.node)
        names = declared.inputs if declared else stars.LOADS[node.node].inputs if node.node in stars.LOADS else ()
        found = [self.dataset(name) for name in names]
        for each, name in zip(found, names, strict=True):
            if declared and name == declared.records and "bronze" in node.facts:
                counts = facet("dataQualityMetrics", rowCount=node.facts["bronze"], columnMetrics={})
                each["inputFacets"] = {"dataQualityMetrics": counts}
        return found

    def _delivered(self, source: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What a source reads: files below the landing root, or what its connection names."""
        declared = self.settings.sources[source]
        path = getattr(declared, "path", "")
        at = (
            _address(f"{self.settings.landing}/{path}")
            if path
            else (f"{declared.kind}://{declared.connection or source}", source)
        )
        made: dict[str, Any] = {"namespace": at[0], "name": at[1]}
        if "read" in facts:
            made["inputFacets"] = {
                "dataQualityMetrics": facet("dataQualityMetrics", rowCount=facts["read"], columnMetrics={})
            }
        return made

    def _outputs(self, node: NodeRun, versions: Mapping[str, int]) -> list[dict[str, Any]]:
        made = []
        source = _source(node.node)
        declared = graph.NODES.get(node.node)
        if source:
            names = [self.settings.sources[source].table] if source in self.settings.sources else []
        else:
            names = [tables.spec(output).name for output in declared.outputs] if declared else []
        for name in names:
            one = self.dataset(name, versions.get(name))
            one["facets"] |= _described(name)
            if lineage := self._columns(node.node, name):
                one["facets"]["columnLineage"] = lineage
            if name == names[-1]:
                one["outputFacets"] = {"outputStatistics": facet("outputStatistics", rowCount=node.rows)}
                one["facets"] |= _counted(node, is_record=bool(declared and declared.records), is_source=bool(source))
            made.append(one)
        return made

    def dataset(self, name: str, version: int | None = None) -> dict[str, Any]:
        """A lake table as a dataset: its place, and its name as a symbolic link."""
        layer, _, table = name.partition(".")
        namespace, path = _address(f"{self.settings.lake.root}/{layer}/{table}")
        link = facet("symlinks", identifiers=[{"namespace": self.namespace, "name": name, "type": "TABLE"}])
        facets = {"symlinks": link, "storage": facet("storage", storageLayer="delta", fileFormat="parquet")}
        if version is not None:
            facets["version"] = facet("version", datasetVersion=str(version))
        return {"namespace": namespace, "name": path, "facets": facets}

    def _columns(self, node: str, name: str) -> dict[str, Any] | None:
        """The facet of column lineage; of producers, which columns they use is not known, and nothing is said."""
        declared = graph.NODES.get(node)
        if declared is None or declared.is_producer:
            return None
        made = of_node(declared, self.rules)  # of what ran alone: all of them take as long as a small table
        flow = made.flows[name]
        fields = {c: {"inputFields": self._fields(uses)} for c, uses in flow.columns.items() if uses}
        return facet("columnLineage", fields=fields, dataset=self._fields(flow.rows))

    def _fields(self, uses: Uses) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], list[dict[str, str]]] = {}
        for use in sorted(uses):
            if use.column != ANY:
                kind = "DIRECT" if use.is_direct else "INDIRECT"
                found.setdefault((use.table, use.column), []).append({"type": kind, "subtype": use.how.upper()})
        made = []
        for (table, column), how in found.items():
            layer, _, name = table.partition(".")
            namespace, path = _address(f"{self.settings.lake.root}/{layer}/{name}")
            made.append({"namespace": namespace, "name": path, "field": column, "transformations": how})
        return made


def events_of(run: Run, words: Words) -> Iterator[Event]:
    """All events of a run that is in the ledger, as far as it came; moments of its nodes are no nearer than its end."""
    yield words.started(run)
    at = datetime.fromisoformat(run.ended_at or run.started_at)
    for node in run.nodes:
        yield from words.of_node(run, node, at, {})
    if run.ended_at:
        yield words.ended(run, failures(run), run.ended_at)


def failures(run: Run) -> dict[str, str]:
    """Why nodes of a run failed, by name."""
    return {node.node: node.reason for node in run.nodes if node.state in ("failed", "blocked")}


def _described(name: str) -> dict[str, Any]:
    contract = tables.by_name(name)
    declared = contract.columns()
    fields = []
    for place, (column, dtype) in enumerate(tables.schema(contract).items(), start=1):
        one: dict[str, Any] = {"name": column, "type": str(dtype), "ordinal_position": place}
        if (told := declared.get(column)) is not None and told.description:
            one["description"] = told.description
        fields.append(one)
    found = {
        "schema": facet("schema", fields=fields),
        "documentation": facet("documentation", description=tables.summary(contract)),
    }
    if personal := tables.pii_columns(contract):
        tags = [{"key": "pii", "value": kind, "source": "CUSTOMER360", "field": c} for c, kind in personal.items()]
        found["tags"] = facet("tags", tags=tags)
    return found


def _counted(node: NodeRun, *, is_record: bool, is_source: bool) -> dict[str, Any]:
    """Where rows went, as counts, and whether they add up."""
    counts = {key: node.facts[key] for key in COUNTS if isinstance(node.facts.get(key), int)}
    if not counts:
        return {}
    found = {"customer360_counts": facet("customer360_counts", **counts)}
    if (is_record and "bronze" in counts) or (is_source and "read" in counts):
        balance = quality.record_balance if is_record else quality.batch_balance
        holds = balance(node.node, node.facts).holds
        found["dataQualityAssertions"] = facet(
            "dataQualityAssertions", assertions=[{"assertion": "conservation", "success": holds}]
        )
    return found


def _class_of(reason: str) -> str:
    """The class of the fault that a reason begins with, after the place at most; its words stay in the ledger."""
    found = _CLASS.search(reason)
    return found[1] if found else "failed"


def _error(message: str) -> dict[str, Any]:
    return facet("errorMessage", message=message[:1000], programmingLanguage="Python")


def _command(run: Run) -> str:
    """The first word of the command: the others may name persons."""
    return (run.command.split() or ["run"])[0]


def _source(node: str) -> str:
    return node.removeprefix("source ") if node.startswith("source ") else ""


def _job_name(node: str) -> str:
    return f"land.{source}" if (source := _source(node)) else node


def _address(place: str) -> tuple[str, str]:
    """Namespace and name of a path or URL, by the naming conventions of OpenLineage."""
    scheme, sign, rest = place.partition("://")
    if not sign:
        from pathlib import Path

        return "file", str(Path(place).absolute())
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key
