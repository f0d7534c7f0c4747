"""Where `ixy` begins: signals are heeded from the first moment, errors become one line."""

from ixy.cli import signals  # first of all


def main():  # type: ignore[no-untyped-def]
    """The command. Exits 0 only when it did what it was asked; an error is one line on stderr."""
    from ixy.cli.run import run

    signals.leave(run())
