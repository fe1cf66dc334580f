"""The medallion pipelines. Bronze and silver are laid out by domain, gold by question.

Where rows come from decides the file in ``bronze/`` and ``silver/``: ``sales``, ``behavior``, ``customers`` … What is
asked decides the file in ``gold/``: one question often needs several domains, as ``retention``, ``profitability`` or
``affinity`` do. Modules of a layer do not import each other; they meet by the names of tables, and what they share
stands beside the layers: ``vocabulary``, ``subjects``, ``features``, ``rules``.
"""

from __future__ import annotations

from customer360.pipelines.complete_days import last_complete_day_end

__all__ = ["last_complete_day_end"]
