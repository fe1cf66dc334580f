"""The picture of a match weight."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from customer360.serve.console.waterfall import waterfall

EVIDENCE = [
    {"comparison": "email", "level": "exact", "weight": 19.0},
    {"comparison": "given_name", "level": "<close>", "weight": -3.0},
    {"comparison": "phone", "level": None, "weight": None},
]


def test_every_step_and_the_sum_are_drawn_and_named() -> None:
    svg = waterfall(-12.0, EVIDENCE, accept=4.0)
    root = ElementTree.fromstring(svg)
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "email: exact" in texts and "given name: <close>" in texts, "names are escaped, not executed"
    assert "+4.0" in texts, "the sum"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 5
    assert "accepted from here" in svg


def test_bars_follow_one_another() -> None:
    lefts = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', waterfall(-10.0, EVIDENCE[:1]))]
    assert lefts[0] == lefts[1], "the second bar starts where the first ended"
