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


@contextmanager
def typed_failures() -> Iterator[None]:
    """Let a retry policy act on the type of the error.

    A transient error passes and is retried; every other error of the platform becomes a Dagster
    failure that no policy retries, with the error's type and message in its metadata.
    """
    try:
        yield
    except TransientError:
        raise
    except QuantAssetsError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error_type": type(error).__name__},
            allow_retries=False,
        ) from error
