"""What a run says in Slack. What belongs here: facts to a thread, pure; no queries, no network.

A thread has one line that is edited in place and replies that stay. Whatever comes from outside
(errors, check results, tags) is redacted and escaped.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import dagster as dg

from quant_assets import naming
from quant_assets.hooks.answers import Row
from quant_assets.hooks.runs import is_repeated, partitions_of
from quant_assets.hooks.thread_facts import CheckFailed, Done, Failed, Happening, Retried, RunFacts
from quant_assets.hooks.thread_tables import label_counts, recommendation_blocks
from quant_assets.jobs import NAMED_JOBS
from quant_assets.markets import MARKETS
from quant_assets.notices.message import (
    Block,
    Message,
    bold,
    clip,
    code,
    escape,
    link,
    message,
    section,
)
from quant_assets.notices.thread import Picture, Post, ThreadView
from quant_assets.resources.events import askers_of
from quant_assets.settings import Settings
from quant_assets.vendors.redaction import redact

WAITING, GOOD, BAD, DOUBTFUL = (
    ":hourglass_flowing_sand:",
    ":white_check_mark:",
    ":x:",
    ":warning:",
)
PREFIX_LENGTH = 6
SHOWN_LENGTH = 8
"""Of a run's id: in the keys of its replies, and in texts as Dagster's UI shows it."""
DETAIL_LIMIT = 1_500
SEPARATOR = "  ·  "


@dataclass(frozen=True)
class Target:
    """A thread that hears of a run.

    ``thread_ts`` is empty for a thread of the run's own. ``is_whole``: it is told every step, not
    only the line and the end. ``symbols`` are those that were asked for there, none for all.
    """

    channel: str
    thread_ts: str = ""
    symbols: tuple[str, ...] = ()
    is_whole: bool = True


def run_thread(facts: RunFacts, target: Target, settings: Settings, key: str) -> ThreadView:
    """The thread of a run as it should be now; ``key`` is the id of the run that it began with."""
    writer = _Writer(facts, target, settings)
    return ThreadView(
        key=key,
        channel=target.channel,
        home=settings.slack_channel,
        thread_ts=target.thread_ts,
        line=writer.line(),
        posts=tuple(writer.posts()),
        is_ended=facts.is_ended,
    )


def targets_of(run: dg.DagsterRun, settings: Settings) -> list[Target]:
    """The threads that hear of a run: those that its requests named, else one of its own.

    The first one is told everything.
    """
    wanted: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for asker in askers_of(run):
        tag = asker.tag
        if tag is not None:
            where = tag.channel or settings.slack_channel, tag.thread_ts or ""
            wanted.setdefault(where, []).append(tag.symbols)
    if not wanted:
        channel, thread_ts = (run.tags.get(t, "") for t in (naming.TAG_CHANNEL, naming.TAG_THREAD))
        wanted[channel or settings.slack_channel, thread_ts] = []
    found = [
        Target(channel, thread_ts, _together(asked))
        for (channel, thread_ts), asked in wanted.items()
    ]
    named_first = run.tags.get(naming.TAG_THREAD)
    found.sort(key=lambda target: (not target.thread_ts, target.thread_ts != named_first))
    first, *others = found
    return [first, *(_part(target) for target in others if target.thread_ts)]


def _part(target: Target) -> Target:
    return Target(target.channel, target.thread_ts, target.symbols, is_whole=False)


def _together(asked: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Every symbol of several requests; none (all) if one of them asked for all."""
    if not all(asked):
        return ()
    return tuple(dict.fromkeys(symbol for symbols in asked for symbol in symbols))


class _Writer:
    """Words for one run in one thread."""

    def __init__(self, facts: RunFacts, target: Target, settings: Settings) -> None:
        self._facts = facts
        self._run = facts.run
        self._target = target
        self._settings = settings
        self._prefix = facts.run.run_id[:PREFIX_LENGTH]

    def line(self) -> Message:
        """The line that is edited: state, what, how far, how it ended."""
        facts = self._facts
        parts = [f"{self._sign()} {bold(run_title(self._run))}", f"{self._count()}"]
        if not facts.is_ended and facts.running:
            now = sorted(facts.name(step) for step in facts.running)
            parts.append(f"now {escape(', '.join(now[:3]))}")
        if facts.is_ended:
            parts.append(self._outcome())
        told = SEPARATOR.join(parts)
        return message(section(f"{told}{SEPARATOR}{self._run_link()}"), text=told)

    def posts(self) -> Iterator[Post]:
        """The replies in their order."""
        facts = self._facts
        if self._target.is_whole:
            if facts.started_at is not None:
                yield Post(f"{self._prefix}s", self._start())
            keys = set()
            for happening in facts.happenings:
                key, text, lead = self._told(happening)
                if key not in keys:
                    keys.add(key)
                    yield Post(f"{self._prefix}{key}", message(section(text), text=lead))
        if facts.is_ended:
            yield self._end()

    def _sign(self) -> str:
        if not self._facts.is_ended:
            return WAITING
        if self._run.status != dg.DagsterRunStatus.SUCCESS:
            return BAD
        is_checked = not any(isinstance(h, CheckFailed) for h in self._facts.happenings)
        return GOOD if is_checked else DOUBTFUL

    def _count(self) -> str:
        total = len(self._facts.assets)
        return f"{self._facts.assets_done} of {total} step{'' if total == 1 else 's'}"

    def _outcome(self) -> str:
        facts, took = self._facts, duration(self._facts.seconds)
        if self._run.status == dg.DagsterRunStatus.CANCELED:
            return f"canceled after {took}"
        if self._run.status != dg.DagsterRunStatus.SUCCESS:
            return f"failed after {took}" + (", is repeated" if is_repeated(self._run) else "")
        figures = [label_counts(rows) for rows in facts.rows.values()]
        return SEPARATOR.join(filter(None, (took, *(figures or self._figures(facts.main_asset)))))

    def _start(self) -> Message:
        asset = self._facts.main_asset
        places = [self._run_link()]
        if last := partitions_of(self._run)[1]:
            places.append(link(self._partition_url(asset, last), f"{asset} {last}"))
        lines = [f"Started {self._by_whom()}", SEPARATOR.join(places)]
        return message(section("\n".join(lines)), text=lines[0])

    def _by_whom(self) -> str:
        tags = self._run.tags
        parts = []
        if before := self._run.parent_run_id or tags.get(naming.TAG_REPEAT_OF):
            parts.append(f"as a repetition of {self._run_link(before)}")
        requests = [asker.request_id for asker in askers_of(self._run) if asker.request_id]
        if requests:
            shown = ", ".join(code(request) for request in requests[:3])
            more = f" and {len(requests) - 3} more" if len(requests) > 3 else ""
            parts.append(f"by event, request {shown}{more}")
        elif name := tags.get("dagster/schedule_name"):
            parts.append(f"by the schedule {code(name)}")
        elif name := tags.get("dagster/sensor_name"):
            parts.append(f"by the sensor {code(name)}")
        elif name := tags.get("dagster/backfill"):
            parts.append(f"by the backfill {code(name)}")
        elif name := tags.get("user") or tags.get("dagster/user"):
            parts.append(f"by {escape(name)}")
        elif not parts:
            parts.append("by hand")
        return " ".join(parts)

    def _told(self, happening: Happening) -> tuple[str, str, str]:
        """Key, text and short text of a reply."""
        match happening:
            case Done(step, seconds):
                name = self._facts.name(step)
                parts = [f"{GOOD} {code(name)}", *self._figures(name), duration(seconds)]
                text = SEPARATOR.join(parts)
                return str(self._facts.assets.index(name)), text, text
            case Retried(step, attempt, wait, problem):
                lead = f"{DOUBTFUL} {code(self._facts.name(step))} failed, attempt {attempt}"
                again = f"tried again in {duration(wait)}" if wait else "tried again at once"
                text = f"{lead}; {again}\n{self._problem(problem.error_type, problem.message)}"
                return f"r{_short(step)}{attempt}", text, lead
            case Failed(step, seconds, problem):
                lead = f"{BAD} {code(self._facts.name(step))} failed after {duration(seconds)}"
                text = f"{lead}\n{self._problem(problem.error_type, problem.message)}"
                return f"x{_short(step)}", text, lead
            case CheckFailed(asset, check, is_error, description, findings):
                lead = (
                    f"{BAD if is_error else DOUBTFUL} {code(asset)} check {code(check)} not passed"
                )
                count = f": {findings:,} finding(s)" if isinstance(findings, int) else ""
                text = f"{lead}{count}\n{self._foreign(description)}".rstrip()
                return f"c{_short(f'{asset} {check}')}", text, lead

    def _figures(self, asset: str) -> list[str]:
        made = self._facts.made.get(asset)
        if made is None:
            return []
        rows = [] if made.rows is None else [f"{made.rows:,} row{'' if made.rows == 1 else 's'}"]
        covered = [] if made.coverage is None else [f"coverage {100 * made.coverage:.1f} %"]
        return rows + covered

    def _problem(self, error_type: str, text: str) -> str:
        return f"{bold(error_type)}: {self._foreign(text)}"

    def _foreign(self, text: str) -> str:
        return foreign(text, self._settings)

    def _end(self) -> Post:
        key = f"{self._prefix}e"
        lead = f"{self._sign()} {bold(run_title(self._run))}{SEPARATOR}{self._outcome()}"
        if self._run.status != dg.DagsterRunStatus.SUCCESS:
            return Post(key, message(section("\n".join([lead, *self._remains()])), text=lead))
        blocks: list[Block] = [section(lead)]
        for asset, rows in self._facts.rows.items():
            blocks += self._recommendations(asset.partition("/")[0], rows)
        if self._facts.rows_problem:
            blocks.append(section(self._foreign(self._facts.rows_problem)))
        return Post(key, message(*blocks, text=lead), self._picture())

    def _recommendations(self, market: str, rows: Sequence[Row]) -> list[Block]:
        title = f"{MARKETS[market].name} {partitions_of(self._run)[1]}"
        names = {listing.symbol: listing.name for listing in self._settings.universe(market)}
        return recommendation_blocks(title, rows, names, self._target.symbols)

    def _remains(self) -> Iterator[str]:
        """What a run that did not succeed leaves undone, and what will be done about it."""
        facts = self._facts
        if self._run.status == dg.DagsterRunStatus.CANCELED or not any(
            isinstance(happening, Failed) for happening in facts.happenings
        ):
            yield self._foreign(facts.end_message or "the run failed outside of its steps")
        left = [a for step, a in facts.asset_of_step.items() if step not in facts.done]
        if left:
            yield f"Not made: {escape(', '.join(left))}"
        if not is_repeated(self._run):
            yield f"{self._run_link()}: re-execute it from its failure to have the rest done"

    def _picture(self) -> Picture | None:
        asset = self._facts.main_asset
        made = self._facts.made.get(asset)
        content = made.picture if made is not None else None
        if content is None:
            return None
        last = partitions_of(self._run)[1]
        name = f"{asset.replace('/', '_')}_{last}".replace(":", "")
        return Picture(f"{name}.png", f"{asset} {last}", lambda: content)

    def _run_link(self, run_id: str = "") -> str:
        return run_link(run_id or self._run.run_id, self._settings)

    def _partition_url(self, asset: str, partition: str) -> str:
        place = f"view=partitions&partition={quote(partition, safe=':')}"
        return f"{self._settings.ui_url}/assets/{asset}?{place}"


def foreign(text: str, settings: Settings) -> str:
    """A text from outside: without secrets, harmless and not too long."""
    return clip(escape(redact(text, settings.secrets)), DETAIL_LIMIT)


def run_link(run_id: str, settings: Settings) -> str:
    """A link to a run in the UI."""
    return link(f"{settings.ui_url}/runs/{quote(run_id)}", f"run {run_id[:SHOWN_LENGTH]}")


def run_title(run: dg.DagsterRun) -> str:
    """What a run does, such as "US combined analysis 2026-11-20"."""
    first, last = partitions_of(run)
    span = first if first == last else f"{first} .. {last}"
    return f"{_work(run)} {span}".strip()


def _work(run: dg.DagsterRun) -> str:
    if run.job_name in NAMED_JOBS:
        return job_title(run.job_name)
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    if not assets:
        return run.job_name
    return assets[0] if len(assets) == 1 else f"{assets[0]} and {len(assets) - 1} more"


def job_title(job: str) -> str:
    """A job's name for people: ``us_combined_analysis`` is "US combined analysis"."""
    head, _, rest = job.partition("_")
    first = head.upper() if head in MARKETS else head.capitalize()
    return f"{first} {rest.replace('_', ' ')}".strip()


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _short(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=3).hexdigest()
