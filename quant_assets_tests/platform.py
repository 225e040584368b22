"""A whole platform for a test: real sandbox, real storage, real Dagster instance, fixed clock.

What belongs here: building and running it; assertions belong to the tests.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from quant_assets.definitions import build_defs
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START
from quant_assets.resources import ClockResource, build_resources
from quant_assets.sandbox import locate
from quant_assets.sandbox.server import Sandbox
from quant_assets.schemas import dataset_of
from quant_assets.settings import Settings

NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
"""The clock of the test platforms: Friday, the US session of the 19th is complete."""
US_SYMBOLS = ("AAPL", "MSFT", "NVDA", "JPM", "XOM")
KR_SYMBOLS = ("005930.KS", "000660.KS", "035420.KS")


@dataclass
class Platform:
    """What a test needs: run jobs, read partitions, command the sandbox."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    store: ParquetStore
    settings: Settings
    sandbox: Sandbox

    def run(
        self, job: str, first: str, last: str | None = None, *, check: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run a job for a partition or a range, as its tags would from a command line."""
        is_range = last is not None and last != first
        tags = (
            {TAG_RANGE_START: first, TAG_RANGE_END: str(last)}
            if is_range
            else {TAG_PARTITION: first}
        )
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            partition_key=None if is_range else first,
            raise_on_error=False,
        )
        if check:
            assert result.success, failure(result)
        return result

    def history(self, market: str, first: str, last: str) -> None:
        """Fetch the bars that a test begins with; without checks.

        Of a run over a range Dagster plans each check for each partition, which for a year of bars
        takes as long as everything else.
        """
        self.run(f"{market}_history", first, last)

    def read(self, asset: str, *keys: str) -> pd.DataFrame:
        """Rows of stored partitions; all of the asset without keys."""
        wanted = list(keys) or self.store.list_partitions(asset)
        return self.store.read(dataset_of(asset), asset, wanted)

    def files(self, *assets: str) -> dict[str, bytes]:
        """Content of every stored file, by its path below the root."""
        return {
            str(path.relative_to(self.store.root)): path.read_bytes()
            for asset in assets
            for path in sorted((self.store.root / asset).glob("*.parquet"))
        }


@contextmanager
def platform(
    home: Path,
    *,
    now: datetime = NOW,
    us: Sequence[str] = US_SYMBOLS,
    kr: Sequence[str] = KR_SYMBOLS,
    overrides: dict[str, Any] | None = None,
    sandbox: Sandbox | None = None,
    is_persistent: bool = False,
    **variables: Any,
) -> Iterator[Platform]:
    """A platform below ``home`` whose vendors and clock stand at ``now``.

    Its instance is in memory unless it shall be ``is_persistent``: as ``quant`` has it.
    """
    settings = Settings(
        **{
            "QUANT_HOME": str(home),
            "QUANT_US_UNIVERSE": ",".join(us),
            "QUANT_KR_UNIVERSE": ",".join(kr),
            "QUANT_REPORTS": "false",
            **variables,
        }
    )
    own = sandbox or Sandbox(
        seed=settings.sandbox_seed, data_dir=settings.replayed_data, now=lambda: now
    )
    with own, _instance(home, is_persistent=is_persistent) as instance:
        locate.record(home, own)
        resources = {
            **build_resources(settings),
            "clock": ClockResource(fixed_now=now.isoformat()),
            **(overrides or {}),
        }
        histories = [
            dg.define_asset_job(
                f"{market}_history",
                dg.AssetSelection.assets([market, "prices"]).without_checks(),
            )
            for market in MARKETS
        ]
        yield Platform(
            dg.Definitions.merge(
                build_defs(settings, resource_overrides=resources), dg.Definitions(jobs=histories)
            ),
            instance,
            ParquetStore(settings.data_dir, settings.profile),
            settings,
            own,
        )


def _instance(home: Path, *, is_persistent: bool) -> dg.DagsterInstance:
    if not is_persistent:
        return dg.DagsterInstance.ephemeral(tempdir=str(home))
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").symlink_to(Path(__file__).parents[1] / "dagster.yaml")
    return dg.DagsterInstance.from_config(str(home))


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Messages of the failed steps, innermost cause last."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                texts.append(f"{event.step_key}: {error.message.strip()}")
                error = error.cause
    return "\n".join(texts)
