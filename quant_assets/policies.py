"""Named policies for retries and backfills. What belongs here: each policy once, with why."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from quant_assets.errors import QuantAssetsError, TransientError

SINGLE_RUN = dg.BackfillPolicy.single_run()
"""A range of partitions is one run: one vendor call a symbol, one vectorised computation."""

VENDOR_RETRY = dg.RetryPolicy(
    max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For steps that ask a vendor. Only ``TransientError`` is retried: see ``typed_failures``."""


LONGEST_WAIT_SECONDS = 300.0
"""A step waits at most so long for a vendor that names a time; longer ones are for the next run."""


def is_last_attempt(context: dg.AssetExecutionContext) -> bool:
    """Whether ``VENDOR_RETRY`` will not run the step again."""
    return bool(context.retry_number >= VENDOR_RETRY.max_retries)


@contextmanager
def typed_failures() -> Iterator[None]:
    """Let a retry policy act on the type of the error.

    A transient error passes and is retried, after the time that the vendor asks for if it named
    one; every other error of the platform becomes a Dagster failure that no policy retries, with
    the error's type and message in its metadata.
    """
    try:
        yield
    except TransientError as error:
        if error.retry_after_seconds is None:
            raise
        raise dg.RetryRequested(
            max_retries=VENDOR_RETRY.max_retries,
            seconds_to_wait=min(error.retry_after_seconds, LONGEST_WAIT_SECONDS),
        ) from error
    except QuantAssetsError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error_type": type(error).__name__},
            allow_retries=False,
        ) from error
