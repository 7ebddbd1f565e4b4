"""What every bench returns: one row per figure, ours beside its anchor and the goal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. `ratio` is ours to the anchor where that means something; `met` is None without a goal to meet."""

    name: str
    ours: float | str
    anchor: float | str
    ratio: float | None
    goal: str
    unit: str
    met: bool | None
