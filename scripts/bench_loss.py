"""Sound that is missing at random loss, beside stock aiortc on the same pattern of losses."""

from bench_common import Row
from bench_media import measure


def run(quick: bool) -> list[Row]:
    """DESIGN §6: nothing missing at 1, 5 and 10 % loss."""
    rows = []
    for percent in ("1", "5", "10"):
        options = ("--loss", percent, "--seconds", "6" if quick else "15")
        own, stock = (100 * measure(kind, "loss", *options)["missing"] for kind in ("own", "stock"))
        rows.append(Row(f"sound missing at {percent} % loss", own, stock, None, "0 (< 0.5)", "%", own < 0.5))
    return rows
