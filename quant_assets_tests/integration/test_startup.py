"""Commands that need no heavy library load none. How long they take: ``benchmarks startup``."""

import json
import os
import subprocess
import sys
from pathlib import Path

from quant_assets_tests.integration.quant_processes import CHECKOUT

HEAVY = (
    *("dagster", "pandas", "numpy", "pyarrow", "polars", "pandera", "sqlalchemy", "requests"),
    *("confluent_kafka", "slack_sdk", "curl_cffi", "yfinance", "matplotlib", "onnxruntime"),
)
LIGHT = (
    ["setup"],
    ["data", "list"],
    ["data", "list", "us/prices"],
    ["data", "clear", "us/prices"],
    ["quarantine", "list"],
    ["raw", "list"],
    ["raw", "prune", "--dry-run"],
    ["events", "topics"],
    ["events", "topics", "--schema", "command.requested"],
    ["dead-letters", "list"],
    ["notify", "test"],
)
"""What they print is tested elsewhere; the last two end because nothing is there to be asked."""

_ALL_HELP = """
import contextlib, io, json, sys
import click
from quant_assets.cli.commands import quant

def pages(command, words):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        command.main(["--help"], prog_name=" ".join(["quant", *words]))
    assert out.getvalue().startswith("Usage: quant"), words
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from pages(inner, [*words, name])

print(json.dumps({"pages": len(list(pages(quant, []))), "loaded": sorted(sys.modules)}))
"""
_IN_TURN = """
import contextlib, io, json, sys
from quant_assets.cli.commands import quant
from quant_assets.errors import QuantAssetsError

heavy, told = json.loads(sys.argv[1]), {}
for words in json.loads(sys.argv[2]):
    with (
        contextlib.suppress(SystemExit, QuantAssetsError),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        quant.main(words, prog_name="quant")
    told[" ".join(words)] = [name for name in heavy if name in sys.modules]
print(json.dumps(told))
"""


def answer(script: str, folder: Path, *arguments: str) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_help_loads_nothing_but_click(tmp_path: Path) -> None:
    told = answer(_ALL_HELP, tmp_path)
    loaded = told["loaded"]
    assert isinstance(loaded, list)
    heavy = (*HEAVY, "pydantic", "pydantic_settings", "rich", "asyncio")
    assert [name for name in heavy if name in loaded] == []
    assert isinstance(told["pages"], int)
    assert told["pages"] > 30


def test_light_commands_load_no_heavy_library(tmp_path: Path) -> None:
    told = answer(_IN_TURN, tmp_path, json.dumps(HEAVY), json.dumps(LIGHT))
    assert told == {" ".join(words): [] for words in LIGHT}
