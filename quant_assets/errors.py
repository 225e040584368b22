"""The error types of the platform. What belongs here: the few classes that policies act on.

Every failure is typed where it arises, because the retry policy, the quarantine and the
exit status of a command each depend on the type and never on a message:

- ``TransientError``: the same request may succeed later (timeout, 429, 5xx, connection reset).
- ``PermanentError``: the same request will fail again (unknown symbol, refused key, missing plan).
- ``BadDataError``: an answer or a file came, and its content breaks the dataset's contract.
- ``BadConfigurationError``: a setting, a run config or an argument of the user is wrong.

Messages say what failed, which asset, partition and symbol, and what to do about it.
"""


class QuantAssetsError(Exception):
    """Base of every error that the platform raises on purpose."""


class TransientError(QuantAssetsError):
    """The same request may succeed later.

    ``retry_after_seconds`` is the wait the vendor asked for, or ``None`` if it named none.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentError(QuantAssetsError):
    """The same request will fail again until somebody changes something."""


class QuotaExhaustedError(PermanentError):
    """A vendor's daily allowance is used up: stop asking until it resets."""


class BadDataError(QuantAssetsError):
    """Data arrived whose content breaks the contract of its dataset."""


class MissingPartitionError(BadDataError):
    """A partition that a computation needs has not been materialized."""


class BadConfigurationError(QuantAssetsError):
    """A setting, a run configuration or an argument is wrong."""
