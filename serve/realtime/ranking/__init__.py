"""What to show, in stages: retrieve, filter, rank, re-rank. Each is a pure function over small frozen values, so that a
decision can be read afterwards and made again."""
