"""What MLflow keeps of an identity model: the parameters of each level, what it was trained on, and their picture.

No value of a record is among them: levels are rules, frequencies are named by their digest. A model is logged once,
under the version of its pins.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from customer360.models.identity.batch.pins import Pins
from customer360.models.lifecycle.plots import GUIDE, OURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "identity"


def log(registry: Any, pins: Pins) -> str:
    """Log the pinned model to `tracking.Registry`; returns its run id, that of the earlier run where it was logged."""
    model, made = pins.model, pins.model.diagnostics
    params = {"mode": made["mode"], "records": pins.records, "term_frequency_hash": model.term_frequency_hash}
    params |= {f"cap.{key}": most for key, most in sorted(pins.caps.items())}
    metrics = {f"{name}.{part}": value for name, level in levels(pins).items() for part, value in level.items()}
    metrics |= {f"pairs.{session.replace(' + ', '_')}": float(count) for session, count in made["sessions"].items()}
    metrics |= {"hubs": float(pins.hubs.height), "stated_defaults": float(len(made["replaced"]))}
    metrics["prior"] = float(model.settings["probability_two_random_records_match"])
    document = {"model.json": model.model_dump(mode="json"), "blocking.json": pins.caps}
    return str(registry.log_once(EXPERIMENT, pins.version, params, metrics, document, {"weights.png": weights(pins)}))


def levels(pins: Pins) -> dict[str, dict[str, float]]:
    """m, u and weight (log2 of m over u) by `comparison.place_label`, the strongest level of a comparison first."""
    found: dict[str, dict[str, float]] = {}
    for comparison in pins.model.settings["comparisons"]:
        stated = [level for level in comparison["comparison_levels"] if not level.get("is_null_level")]
        for place, level in enumerate(stated):
            label = re.sub(r"[^\w-]+", "_", level["label_for_charts"]).strip("_")
            m, u = float(level["m_probability"]), float(level["u_probability"])
            name = f"{comparison['output_column_name']}.{place}_{label}"
            found[name] = {"m": m, "u": u, "weight": math.log2(m / u)}
    return found


def weights(pins: Pins) -> Figure:
    """Bars of the match weight of every level."""
    from matplotlib.figure import Figure

    known = levels(pins)
    figure = Figure(figsize=(8, max(2.0, 0.24 * len(known))), layout="constrained")
    axes = figure.subplots()
    values = [level["weight"] for level in known.values()]
    axes.barh(list(known), values, color=[OURS if value > 0 else GUIDE for value in values])
    axes.invert_yaxis()
    axes.axvline(0, color=GUIDE, linewidth=0.8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set(title="Match weights", xlabel="log2 of the odds that a level adds")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
