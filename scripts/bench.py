"""Runs benches side by side with their anchors: ``scripts/bench NAME... [--json] [--quick]``.

A bench is a module ``scripts/bench_<name>.py`` with ``run(quick: bool) -> list[Row]``; printing lives here.
"""

import argparse
import dataclasses
import importlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from bench_common import Row
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "–"}


def bench_names() -> list[str]:
    """The benches there are, by their files."""
    files = (path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    return sorted(name for name in files if name != "common")


def run_bench(name: str, *, quick: bool) -> list[Row]:
    """One bench's rows, measured now."""
    rows: list[Row] = importlib.import_module(f"bench_{name}").run(quick)
    return rows


def machine() -> str:
    """What the figures were measured on, in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(models)} × {models[0]}" if models else platform.processor() or platform.machine()
    return f"{processor}, {platform.system()}, Python {platform.python_version()}"


def cell(value: float | str | None, digits: int = 3) -> str:
    """A figure with `digits` significant digits; text as it is; nothing for None."""
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.{digits}g}"


def table(name: str, rows: Sequence[Row]) -> Table:
    """The rows of one bench as a rich table."""
    result = Table("what", title=name, title_justify="left", title_style="bold")
    for heading in ("ours", "anchor", "ratio"):
        result.add_column(heading, justify="right")
    result.add_column("unit")
    result.add_column("goal")
    result.add_column("")
    for row in rows:
        figures = (cell(row.ours), cell(row.anchor), cell(row.ratio))
        result.add_row(row.name, *figures, row.unit, row.goal, VERDICTS[row.met])
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: every goal met; 1: some missed; 2: wrong usage (argparse)."""
    names = bench_names()
    parser = argparse.ArgumentParser("scripts/bench", description="Measures against anchors in the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="machine output on stdout")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, wider error")
    arguments = parser.parse_args(argv)
    if not arguments.names:
        parser.error(f"name a bench: {', '.join(names)}")
    if unknown := [name for name in arguments.names if name not in names]:
        parser.error(f"no bench {unknown[0]!r}; there are: {', '.join(names)}")

    results: dict[str, list[Row]] = {}
    console = Console(stderr=arguments.json)
    for name in arguments.names:
        console.print(f"measuring {name} ...", style="dim")
        results[name] = run_bench(name, quick=arguments.quick)
        if not arguments.json:
            console.print(table(name, results[name]))
    if arguments.json:
        rows = {name: [dataclasses.asdict(row) for row in rows] for name, rows in results.items()}
        print(json.dumps({"machine": machine(), "quick": arguments.quick, "benches": rows}, indent=2))
    else:
        console.print(machine(), style="dim")
    return int(any(row.met is False for rows in results.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
