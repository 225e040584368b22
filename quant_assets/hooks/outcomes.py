"""What a run was for and what became of it. What belongs here: pure functions of the run itself.

Which events a run owes follows from the assets that it makes. How it failed follows from the error
of its step or from what Dagster says of the run. What the events contain is said in ``answers``.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import dagster as dg

from quant_assets.errors import BadConfigurationError, PermanentError, QuantAssetsError
from quant_assets.jobs import NAMED_JOBS, NEWS_STREAM
from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_ANSWERED, TAG_PUBLISHED

FAILED_RUN = "RunFailed"
CANCELED_RUN = "Canceled"
"""Error types of a run that failed outside of its steps, and of one that a person stopped."""


class _Types(NamedTuple):
    """The events that an asset's outcome is told by."""

    completed: str | None
    failed: str | None


_BY_TRADES = _Types(None, None)
"""Told by its orders, fills and positions alone: nobody asks for paper trading."""
_MACRO = _Types("economic.data.updated", "economic.data.sync.failed")
_NEWS = _Types("news.crawl.completed", "news.crawl.failed")
_MARKET_ASSETS = {
    "prices": _Types("stock.price.updated", "stock.price.failed"),
    "technical_score": _Types("analysis.technical.completed", "analysis.failed"),
    "news_sentiment": _Types("analysis.sentiment.completed", "analysis.failed"),
    "recommendations": _Types("analysis.completed", "analysis.failed"),
    "risk": _BY_TRADES,
}
ANSWERS: Mapping[str, _Types] = {
    "macro/observations": _MACRO,
    "macro/regime": _MACRO,
    "news/articles": _NEWS,
    "news/article_sentiment": _NEWS,
    **{f"{market}/{name}": types for market in MARKETS for name, types in _MARKET_ASSETS.items()},
}
"""The assets whose storing is told, by key, and the events that tell it."""


@dataclass(frozen=True)
class OutcomeSpec:
    """One outcome that a run owes: ``asset`` is the last one it is for, ``assets`` lead to it."""

    asset: str
    completed: str | None
    failed: str | None
    assets: frozenset[str]

    @property
    def market(self) -> str | None:
        """Market of the asset, None for macro and news."""
        head = self.asset.partition("/")[0]
        return head if head in MARKETS else None


def outcomes_of(
    job_name: str, asset_selection: Collection[dg.AssetKey] | None
) -> list[OutcomeSpec]:
    """The outcomes of a run of ``job_name``, of all its assets or of those selected.

    A job that is whole in the run is told by its last asset alone: recommendations are, the scores
    that they are made of are not. What no job ends with (macro values without the regime) is told
    by itself.
    """
    made = _assets(job_name, asset_selection)
    whole = [job.assets for job in NAMED_JOBS.values() if job.assets[-1] in made]
    on_the_way = {asset for assets in whole for asset in assets[:-1]}
    return [
        OutcomeSpec(
            asset,
            *ANSWERS[asset],
            assets=frozenset(
                {asset, *(a for assets in whole if assets[-1] == asset for a in assets)} & set(made)
            ),
        )
        for asset in made
        if asset in ANSWERS and asset not in on_the_way
    ]


def outcomes_of_run(run: dg.DagsterRun) -> list[OutcomeSpec]:
    """The outcomes of a run; of a repeated one those whose last asset it makes again."""
    made = assets_of_run(run)
    return [o for o in outcomes_of(run.job_name, run.asset_selection) if o.asset in made]


def assets_of_run(run: dg.DagsterRun) -> tuple[str, ...]:
    """The assets that a run makes; of a repeated one only those that are left to be made."""
    assets = _assets(run.job_name, run.asset_selection)
    steps = run.step_keys_to_execute
    return tuple(asset for asset in assets if steps is None or step_key(asset) in steps)


def _assets(job_name: str, selection: Collection[dg.AssetKey] | None) -> tuple[str, ...]:
    if selection:
        return tuple(sorted(key.to_user_string() for key in selection))
    job = NEWS_STREAM if job_name == NEWS_STREAM.name else NAMED_JOBS.get(job_name)
    return job.made if job is not None else ()


def step_key(asset: str) -> str:
    """Key of the step that makes an asset."""
    return asset.replace("/", "__")


def published_tag(run_id: str, at: datetime) -> dict[str, str]:
    """The run tag that says that the run's outcomes are with Kafka.

    It names the run, since a run that repeats another begins with the other's tags.
    """
    return {TAG_PUBLISHED: f"{at.isoformat(timespec='seconds')} {run_id}"}


def is_published(run: dg.DagsterRun) -> bool:
    """Whether the outcomes of this very run are with Kafka, or told by the run that it repeats."""
    return TAG_ANSWERED in run.tags or run.tags.get(TAG_PUBLISHED, "").endswith(run.run_id)


@dataclass(frozen=True)
class Problem:
    """Why a run did not succeed: the type of the error, what it says, the step that had it."""

    error_type: str
    message: str
    step: str | None = None


class _Link(NamedTuple):
    """One error of a chain of causes."""

    name: str
    message: str


def problem_of(error: BaseException, step: str) -> Problem:
    """How a step failed, from what it raised."""
    links = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, dg.Failure):
            return _problem_of_failure(cause.description, cause.metadata, step)
        links.append(_Link(type(cause).__name__, str(cause)))
        cause = cause.__cause__
    return _telling(links, step)


def problem_of_step(event: dg.DagsterEvent) -> Problem:
    """How a step failed, from the event that Dagster stored."""
    data = event.step_failure_data
    step = event.step_key or ""
    if data.user_failure_data is not None:
        failure = data.user_failure_data
        return _problem_of_failure(failure.description, failure.metadata, step)
    return _problem_of_stored(data.error, event)


def problem_of_retry(event: dg.DagsterEvent) -> Problem:
    """Why a step is tried again, from the event that Dagster stored."""
    return _problem_of_stored(event.step_retry_data.error, event)


def _problem_of_stored(error: Any, event: dg.DagsterEvent) -> Problem:
    links = []
    while error is not None:
        name = error.cls_name or "Error"
        links.append(_Link(name, re.sub(rf"^[\w.]*\b{name}: ", "", error.message.strip())))
        error = error.cause
    step = event.step_key or ""
    return _telling(links or [_Link(FAILED_RUN, event.message or "the step failed")], step)


def _problem_of_failure(
    description: str | None, metadata: Mapping[str, Any] | None, step: str
) -> Problem:
    """The problem of a ``dg.Failure``; ``policies.typed_failures`` puts its type there."""
    given = (metadata or {}).get("error_type")
    error_type = "Failure" if given is None else str(getattr(given, "value", given))
    return Problem(error_type, description or "the step failed: see its log", step)


def is_final(problem: Problem) -> bool:
    """Whether the same error will come again until somebody changes something."""
    final = {
        cls.__name__
        for base in (PermanentError, BadConfigurationError)
        for cls in _subclasses(base)
    }
    return problem.error_type in final


def _telling(links: Iterable[_Link], step: str) -> Problem:
    """The platform's own error of a chain, else the innermost.

    The cause of an error of ours is a library's, which knows no remedy.
    """
    chain = list(links)
    ours = {cls.__name__ for cls in _subclasses(QuantAssetsError)}
    link = next((link for link in chain if link.name in ours), chain[-1])
    return Problem(link.name, link.message or link.name, step)


def _subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    children: list[type[Exception]] = cls.__subclasses__()
    for child in children:
        yield from _subclasses(child)
