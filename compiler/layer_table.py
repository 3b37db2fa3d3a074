"""Every operation of a program as a line of CSV: what it holds, and what it costs per token."""

import csv
import io
from typing import Any

from compiler.explain import account
from compiler.forecast import Forecast
from compiler.operations import layer_of


def layer_table(found: Forecast) -> str:
    """CSV with a header, operations in the program's order.

    From macs on columns are per decoded token, expected; static power is in no line.
    """
    rows = [_row(found, account(found, name)) for name in found.program.ops]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(found: Forecast, told: dict[str, Any]) -> dict[str, Any]:
    name, needs = told["operation"], told["needs"]
    events = {row["kind"]: row["number"] for row in told["events"]}
    sent = (bits for (sender, _, _), bits in found.bits_between.items() if sender == name)
    return {
        "operation": name,
        "layer": layer_of(name),
        "kind": told["kind"],
        "where": told["where"],
        "site": told.get("site", ""),
        "coding": told.get("coding", ""),
        "chips": len(told["chips"]),
        "cores": told["n_cores"],
        "tiles": sum(tile["times"] for tile in told["tiles"]),
        "synapse_bytes": needs["synapse memory"],
        "state_bytes": needs["state memory"],
        "macs": round(told["macs"] * told["share"]),
        "axon_lookups": events.get("axon_lookup", 0.0),
        "synops": sum(n for kind, n in events.items() if kind.startswith("synop")),
        "bits_sent": sum(sent),
        "busiest_core_ps": told["busy_ps"],
        "energy_j": told["energy_j"],
    }
