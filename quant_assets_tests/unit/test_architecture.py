"""The rooms and who may import whom; the habits that a tool can hold."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_import_directions() -> None:
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout


def test_no_private_module_of_dagster_is_used() -> None:
    offenders = [
        f"{path.relative_to(CHECKOUT)}:{number}"
        for path in (CHECKOUT / "quant_assets").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if "dagster._" in line
    ]
    assert offenders == []


def test_lock_files_carry_hashes_and_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        requirements = [line for line in text.splitlines() if "==" in line]
        assert len(requirements) > 100
        assert text.count("--hash=sha256:") >= len(requirements)
        assert "://" not in text
