"""Named policies for retries, backfills and time. What belongs here: each policy once, with why."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from quant_assets.errors import QuantAssetsError, TransientError

SINGLE_RUN = dg.BackfillPolicy.single_run()
"""A range of partitions is one run: one vendor call a symbol, one vectorised computation."""

VENDOR_RETRY = dg.RetryPolicy(
    max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For steps that ask a vendor. Only ``TransientError`` is retried: see ``typed_failures``."""


@dataclass(frozen=True)
class TimeLimit:
    """How long a run may take: a time for one partition, and more for each further one.

    A range is one run, so that a fixed limit would end a long one that is well. What a further
    partition may take is many times what it takes (under 0.1 s on a core, 0.4 s on a quarter of
    one), because a limit is there for what hangs and not for what is slow.
    """

    minutes: int
    growth_seconds: int = 2

    def seconds(self, partitions: int) -> int:
        """The limit of a run of so many partitions."""
        return 60 * self.minutes + self.growth_seconds * (max(1, partitions) - 1)

    @property
    def text(self) -> str:
        """The rule as a run's tag holds it."""
        return f"{60 * self.minutes}+{self.growth_seconds}"

    @classmethod
    def read(cls, text: str | None) -> "TimeLimit | None":
        """The rule of a tag; None for a text that ``text`` did not write."""
        found = re.fullmatch(r"([0-9]{1,6})\+([0-9]{1,4})", text or "")
        return cls(int(found[1]) // 60, int(found[2])) if found else None


PRICE_LIMIT = TimeLimit(minutes=30)
"""500 symbols take 4 minutes at Yahoo's pace where their time zones are not known, late bars are
asked for twice more after 30 s, and a throttled step is begun three times, at most 5 minutes apart.
A further session of a range costs no request."""
MACRO_LIMIT = TimeLimit(minutes=20)
"""Under a minute of requests, each with a time limit of its own, and the waits of two retries."""
NEWS_LIMIT = TimeLimit(minutes=30, growth_seconds=20)
"""At 5 calls a minute, the slowest plan of Alpha Vantage, its 25 calls of a day take 5 minutes, and
two retries may wait as long again. A further hour may need a call of its own (12 s)."""
ANALYSIS_LIMIT = TimeLimit(minutes=15)
"""Asks nobody: 10 s for 500 symbols on a core, a minute on a quarter of one."""
OTHER_LIMIT = TimeLimit(minutes=120, growth_seconds=20)
"""Runs of no named job (assets chosen by hand): the instance's own limit, and a range grows it."""

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
