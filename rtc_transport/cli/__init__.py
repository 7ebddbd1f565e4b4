"""The command ``rtc-transport``: calls from a file, the embedded server, devices, ephemeral keys."""

import io
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; ends in `SystemExit` with 0, 1 (failed), 2 (wrong usage) or 130 (interrupted)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # a name in a table is no reason to fail; JSON needs none of it
    try:
        from .app import run_app

        code = run_app(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while it was still being imported
        code = 130
    sys.exit(code)
