"""Where a column and a row come from, and where they go: derived from the builds and from what the lake notes anyway.

`plans` reads the flow of columns out of a plan of Polars, `columns` asks every build and load for its plan, `rows`
follows the rows of one key down to the records of files, `reach` goes the other way, `history` gives the versions of a
row, `events` words runs as OpenLineage and `sinks` delivers them. Nothing here is written by a run beside its events.
"""
