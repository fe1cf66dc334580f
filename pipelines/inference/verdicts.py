"""What a measured figure, a comparison or an effect is said to be: one word for one thing, in every gold table.

A claim (EFFECT, BETTER, a bottleneck, an opportunity …) keeps to the error rate that its table states. Its absence is
no proof: what was not shown may be there, and the interval says how large it may be.
"""

from __future__ import annotations

MEASURED = "MEASURED"  # enough stands behind the figure
NOT_ENOUGH_EVIDENCE = "NOT_ENOUGH_EVIDENCE"  # too few cases: nothing is said
NOT_ENOUGH_HISTORY = "NOT_ENOUGH_HISTORY"  # too few days, however many cases a day: waiting mends it
NO_VARIATION = "NO_VARIATION"  # the cause hardly moves by itself, so that nothing can be told by it

EFFECT = "EFFECT"
NO_EFFECT_SHOWN = "NO_EFFECT_SHOWN"  # of a cause: the data are what they might be without one

BETTER, WORSE = "BETTER", "WORSE"
NO_DIFFERENCE_SHOWN = "NO_DIFFERENCE_SHOWN"  # of a comparison with others, or with before

SILENT = frozenset((NOT_ENOUGH_EVIDENCE, NOT_ENOUGH_HISTORY, NO_VARIATION))  # nothing is claimed or denied
UNSHOWN = frozenset((NO_EFFECT_SHOWN, NO_DIFFERENCE_SHOWN))
WORDS = frozenset((MEASURED, EFFECT, BETTER, WORSE)) | SILENT | UNSHOWN
