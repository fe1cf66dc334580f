"""Segments on the public log, three rolling cuts: `python tests/bench/segments.py [--data DIR]`.

How many hold up, what they are called, how much of the logarithm of everybody's revenue in the next 90 days they
explain beside the RFM rules, and how far segments fitted at one cut agree with those of the next on the same
customers. DIR holds the log's CSV files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from conditions import conditions, measured
from sklearn.metrics import adjusted_rand_score
from value import CUTS, ROOT, log, table

from customer360.models import segments
from customer360.models.base import NoProgress, Snapshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    days = log(parser.parse_args().data)
    print(f"{conditions('polars', 'scikit-learn')}\n")
    rows: list[tuple[object, ...]] = []
    before, names = None, []
    for cut in CUTS:
        snapshot = Snapshot({segments.DAYS: days}, cut)
        made = measured(lambda snapshot=snapshot: segments.fit(snapshot, segments.SegmentsParams(), NoProgress()))
        fitted, found = made.result, segments.evaluate(made.result, snapshot).metrics
        mine = segments.predict(fitted, snapshot)["score"]
        agreement = adjusted_rand_score(segments.predict(before, snapshot)["score"], mine) if before else None
        gain = [found[f"explained_over_rfm{end}"] for end in ("", "_low", "_high")]
        rows.append((cut, f"{found['row_count']:,.0f}", len(fitted.segments), f"{found['stability']:.2f}", f"{found['silhouette']:.3f}",  # noqa: E501
                     f"{found['explained']:.3f}", f"{found['rfm_explained']:.3f}", "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain),  # noqa: E501
                     "" if agreement is None else f"{agreement:.2f}", f"{made.cpu:.1f}"))  # fmt: skip
        said = (f"{s.number} {s.persona} ({s.share:.0%}, {s.mean_spend:,.0f})" for s in fitted.segments)
        names.append(f"{cut}: " + "; ".join(said) + ".")
        before = fitted
    print(table("cut|customers|segments|adjusted Rand index over redraws|silhouette|explained|by RFM rules|difference [95 %, paired]|"  # noqa: E501
                "agreement with the segments of the cut before|CPU s", rows))  # fmt: skip
    print("\n" + "\n\n".join(names))


if __name__ == "__main__":
    main()
