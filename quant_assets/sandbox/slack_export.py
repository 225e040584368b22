"""The page of a home's Slack as a file. What belongs here: writing it where no sandbox runs."""

from pathlib import Path

from quant_assets.sandbox.slack_archive import read_workspace
from quant_assets.sandbox.slack_page import export_page

PAGE_NAME = "slack.html"


def publish(home: Path) -> Path | None:
    """Write all that the sandboxes of ``home`` were told into one file.

    ``None`` if that is nothing, or if it cannot be read or written: the page is a convenience.
    """
    path = home.absolute() / PAGE_NAME
    try:
        workspace = read_workspace(home)
        if not len(workspace):
            return None
        export_page(workspace, path)
    except (OSError, ValueError):
        return None
    return path
