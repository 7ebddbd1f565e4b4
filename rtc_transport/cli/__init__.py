"""The command ``rtc-transport``: calls from a file, the embedded server, devices, ephemeral keys."""


def main() -> None:
    """Runs the command; ends in `SystemExit` with 0, 1 (failed), 2 (wrong usage) or 130 (interrupted)."""
    from .app import app

    app(prog_name="rtc-transport")
