"""A match weight as a picture (SVG text): from the prior, comparison by comparison, to the sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

ROW, LABEL, CHART, MARGIN = 22, 250, 380, 8
FOR, AGAINST, TOTAL = "#2e7d4f", "#b3402e", "#44546a"


def waterfall(prior: float, evidence: Iterable[Mapping[str, Any]], accept: float | None = None) -> str:
    """SVG of a pair: ``prior`` and each comparison's bits (rows of ``evidence``: comparison, level, weight), summed up.

    A line marks ``accept``, the weight from which pairs are accepted.
    """
    steps = [("prior", "two records at random", prior)]
    steps += [(e["comparison"], e["level"] or "", e["weight"] or 0.0) for e in evidence]
    total = sum(weight for _, _, weight in steps)
    bars, at = [], 0.0
    for name, level, weight in steps:
        bars.append((f"{name.replace('_', ' ')}: {level}", at, at + weight, FOR if weight >= 0 else AGAINST))
        at += weight
    bars.append(("match weight", 0.0, total, TOTAL))
    edges = [x for _, start, end, _ in bars for x in (start, end)] + ([accept] if accept is not None else [])
    low, high = min(edges), max(edges)
    scale = CHART / ((high - low) or 1.0)

    def place(bits: float) -> float:
        return round(LABEL + (bits - low) * scale, 1)

    height = ROW * len(bars) + 2 * MARGIN
    width = LABEL + CHART + 80
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="match weight {total:.1f} bits" font-family="system-ui, sans-serif" font-size="12">'
    ]
    for number, (label, start, end, colour) in enumerate(bars):
        top = MARGIN + number * ROW
        left, right = sorted((place(start), place(end)))
        lines.append(f'<text x="{LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>')
        lines.append(
            f'<rect x="{left}" y="{top + 3}" width="{max(right - left, 1):.1f}" height="{ROW - 6}" fill="{colour}"/>'
        )
        lines.append(f'<text x="{right + 4}" y="{top + 15}">{end - start:+.1f}</text>')
    for bits, dash, title in [(0.0, "none", "even odds")] + ([(accept, "4 3", "accepted from here")] if accept else []):
        lines.append(
            f'<line x1="{place(bits)}" x2="{place(bits)}" y1="0" y2="{height}" stroke="#888" stroke-dasharray="{dash}">'
            f"<title>{title}</title></line>"
        )
    return "".join([*lines, "</svg>"])
