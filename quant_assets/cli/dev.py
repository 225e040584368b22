"""``quant dev``. What belongs here: starting Dagster's own development server on a profile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from quant_assets.cli.instance import checkout
from quant_assets.settings import Settings


def serve_ui(values: Settings, port: int) -> int:
    """Run ``dagster dev`` on 127.0.0.1 until interrupted; its exit status.

    It works in the profile's directory, so that a ``.env`` written for another profile does not
    take its place; this process has put the user's ``.env`` into the environment already.
    """
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--workspace",
        str(checkout() / "workspace.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout())}
    process = subprocess.Popen(command, cwd=values.home_dir, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()
