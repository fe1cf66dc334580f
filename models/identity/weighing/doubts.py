"""What a model says of itself to whoever runs it: what it rests on, what it does not believe of the records, and which
rules it leaves out."""

from collections.abc import Sequence
from typing import Any

from customer360.models.identity.weighing.model import IdentityModel
from customer360.models.identity.weighing.signs import MEASURED
from customer360.platform import telemetry

# Diagnostics of `households.idle_vetoes`, and what each is the share of.
_MEASURED = {
    "one person in spite of another given name": "pairs of one place or contact with two given names that errors make",
    "two people at one home": "pairs of one surname and one place that have two given names",
    "birth dates disagree": "pairs of one name and one contact whose birth dates disagree",
    "given names mistyped": "pairs of one surname and one birth date whose given name is written in two ways",
    MEASURED: "pairs of one home, whose given names differ in one of two signs, that have one birth date",
    "genders disagree": "pairs of one name and one contact whose genders disagree",
}


def doubts(diagnostics: dict[str, Any], idle_vetoes: Sequence[str]) -> list[str]:
    """A line for each kind of pairs that nothing was learnt from or that is left to a steward, and for each rule that
    does not fit the records; of
    `IdentityModel` its diagnostics and its idle vetoes. None where all was believed."""
    claimed = diagnostics.get("sessions", {})
    lines = [
        f"not believed, nothing learnt from them: {claimed[name]:,} matches among pairs that agree on {name} (they "
        "differ in most else, or the other pairs leave no room for so many)"
        for name in diagnostics.get("not believed", ())
    ]
    if held := diagnostics.get("held back"):
        lines.append(
            f"held back for review: {held['pairs']:,} pairs of {held['from']:g} bits and more, of which about "
            f"{held['false pairs']:,} are expected to be two people, such as a child of one name at one address; "
            f"decision.accept_weight: {held['from']:g} accepts them"
        )
    lines += [f"rule left out, as it does not fit these records: {reason}" for reason in idle_vetoes]
    if idle_vetoes:
        shares = diagnostics.get("vetoes", {})
        lines += [f"  measured: {shares[name]:.1%} of {what}" for name, what in _MEASURED.items() if name in shares]
    return lines


def tell(model: IdentityModel) -> None:
    """Log a new model with a threshold: how it was made, what it expects, and its doubts."""
    made = model.diagnostics
    why = {"reason": made["reason"]} if "reason" in made else {}
    telemetry.event("identity model", mode=made["mode"], stated_defaults=len(made["replaced"]), **why)
    expected = {name.replace(" ", "_"): value for name, value in made["expected"].items()}
    telemetry.event("identity threshold", accepts_from=model.accept_weight, **expected)
    for line in doubts(made, model.idle_vetoes):
        telemetry.told(f"  {line.strip()}", "identity model doubt", doubt=line.strip())
    for parameter, reason in made["replaced"].items():
        telemetry.log.debug(f"  {parameter}: {reason}")
