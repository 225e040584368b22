"""``quant``: the commands that Dagster's own command lines do not have.

What belongs here: arguments, printing and exit status. Start-up stays light: Dagster, pandas and
the vendors are imported by the command that needs them.
"""

import sys

from quant_assets.errors import QuantAssetsError


def main() -> None:
    """Entry point: an error of the platform is a sentence and exit status 1, not a traceback."""
    from quant_assets.cli.commands import quant

    try:
        quant.main(standalone_mode=True)
    except QuantAssetsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
