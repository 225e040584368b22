"""The job ``housekeeping``. What belongs here: the op around ``tidy``, and its metadata."""

from datetime import UTC, datetime

import dagster as dg

from quant_assets.settings import Settings

NAME = "housekeeping"


class HousekeepingConfig(dg.Config):
    """How the job is run from the UI."""

    dry_run: bool = False


def build_housekeeping_job(values: Settings) -> dg.JobDefinition:
    """The job that removes what is older than the settings say."""

    @dg.op(description="Remove what is old; the stored partitions stay.")
    def remove_what_is_old(context: dg.OpExecutionContext, config: HousekeepingConfig) -> None:
        from quant_assets.housekeeping.tidy import tidy
        from quant_assets.policies import typed_failures

        with typed_failures():
            report = tidy(context.instance, values, datetime.now(UTC), dry_run=config.dry_run)
        verb = "would remove" if report.is_dry_run else "removed"
        for one in report.removed:
            context.log.info(
                "%s %s %s, %.1f MB: %s", verb, f"{one.count:,}", one.what, one.bytes / 1e6, one.why
            )
        for kept in report.kept:
            context.log.info("kept %s old run(s): %s", f"{kept.count:,}", kept.why)
        for note in report.notes:
            context.log.warning(note)

    @dg.job(
        name=NAME,
        description="Removes old runs, logs, raw answers and leftovers; data stays.",
    )
    def housekeeping() -> None:
        remove_what_is_old()

    return housekeeping
