"""What the report shows of sharpness: on each picture, as an order and a group, and of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lesstext.report.panels import Ask, Panel


class SharpnessPanel(Panel):
    """Its tables have one column."""

    columns = ("sharpness",)
    script = """lesstextReport.panel(NAME, {
      title: "Sharpness",
      card: (value, { element }) => element("span", "", `sharpness ${value.toFixed(1)}`),
      detail: (value, { element }) => element("p", "", `variance of the Laplacian: ${value}`),
      orders: [{ title: "least sharp first", rank: (value) => value }],
      groups: [{ title: "blurred", test: (value) => value < 50 }],
      whole: ({ median, n }, { element, number }) =>
        element("p", "", `Half of all ${number(n)} images are sharper than ${median.toFixed(1)}.`),
    });"""

    def sample(self, row: Mapping[str, Any]) -> Any:
        return row["sharpness"]

    def whole(self, ask: Ask) -> Any:
        (found,) = ask("SELECT median(sharpness), count(*) FROM rows WHERE status = 'ok'")
        return {"median": found[0] or 0.0, "n": found[1]}
