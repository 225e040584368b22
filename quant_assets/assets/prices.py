"""``us/prices`` and ``kr/prices``. What belongs here: fetching daily bars, recording coverage."""

import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import (
    Versions,
    dataset_spec,
    markdown_table,
    record,
    run_sessions,
)
from quant_assets.errors import BadConfigurationError, BadDataError, PermanentError, TransientError
from quant_assets.markets import Listing, Market, expected_rows
from quant_assets.partitions import session_of, session_partitions
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, is_last_attempt, typed_failures
from quant_assets.resources import ClockResource, RawResource, StoreResource, YahooResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.held import Held
    from quant_assets.domain.price_bars import JudgedBars, Sift
    from quant_assets.io_managers.parquet_store import ParquetStore
    from quant_assets.resources import Fetch
    from quant_assets.vendors.yahoo import DailyBars

MARGIN = timedelta(days=45)
"""Asked before the first session: the memory of the rules (30 days) and, for an event on a closure,
the bar after it."""
LATE_ROUNDS = 2
"""How often symbols whose last bar has not come yet are asked again."""
NOTED = 31
"""Sessions for which a symbol without an answer is noted."""
NO_ANSWER = "no_answer"
SHOWN = 50


def build_prices(market: Market, versions: Versions) -> dg.AssetsDefinition:
    """The price asset of ``market``."""

    @dg.asset(
        **dataset_spec(
            f"{market.key}/prices",
            group=naming.GROUP_PRICES,
            kinds={"yahoo"},
            versions=versions,
        ),
        partitions_def=session_partitions(market),
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
        pool=naming.POOL_YAHOO,
    )
    def prices(
        context: dg.AssetExecutionContext,
        yahoo: YahooResource,
        clock: ClockResource,
        store: StoreResource,
        raw: RawResource,
    ) -> Any:
        from quant_assets.domain.price_bars import stored_pairs

        with typed_failures():
            sessions = run_sessions(context)
            fetch = raw.fetch(context, clock.now())
            refuse_open_sessions(market, sessions, clock)
            listings = _listed(market, yahoo, session_of(fetch.first), session_of(fetch.last))
            fetched = fetch_bars(market, yahoo, listings, fetch)
            late = _late_now(market, sessions[-1], fetched, fetch)
            shortfall = _shortfall(market, yahoo, listings, fetched, late)
            is_final = fetch.is_rebuild or is_last_attempt(context)
            if shortfall and not (is_final and len(fetched.bars)):
                raise TransientError(shortfall)
            kept = fetch.keep()
            quarantine = store.quarantine(f"{market.key}/prices")
            known = stored_bars(market, store.open(), sessions)
            judged, facts = bars_of_sessions(
                market,
                sessions,
                listings,
                fetched,
                stored=known,
                sift=quarantine.sift,
            )
            gaps = without_answer(sessions, listings, fetched, late, known)
            quarantine.settle(
                context.partition_keys,
                [*judged.held, *gaps],
                set(stored_pairs(judged.frame)),
                fetch.now,
            )
            if judged.frame.empty:
                raise BadDataError(
                    f"{market.key}/prices: every row of {sessions[0]} .. {sessions[-1]} is in "
                    f"quarantine; see `quant quarantine list {market.key}/prices`"
                )
            frame = record(context, judged.frame, {**facts, **kept})
            frame.attrs[naming.INCOMPLETE] = shortfall
            return frame

    return prices


def _listed(market: Market, yahoo: YahooResource, first: date, last: date) -> list[Listing]:
    listings = [x for x in yahoo.listings(market.key) if x.trades_between(first, last)]
    if not listings:
        raise BadConfigurationError(
            f"{market.key}: no symbol of the universe was listed between {first} and {last}"
        )
    return listings


def fetch_bars(
    market: Market, yahoo: YahooResource, listings: Sequence[Listing], fetch: "Fetch"
) -> "DailyBars":
    """The vendor's bars; symbols whose last bar has not come are asked again after a pause.

    Of a session that has just closed Yahoo has some bars later than others. Only symbols that
    traded in the session before are waited for: the others are halted.
    """
    first, last = session_of(fetch.first), session_of(fetch.last)
    client = yahoo.client(fetch.tape)
    span = (first - MARGIN, fetch.now.astimezone(ZoneInfo(market.timezone)).date())
    fetched = client.daily_bars([listing.yahoo_symbol for listing in listings], *span)
    if fetch.is_rebuild:
        return fetched
    for _ in range(LATE_ROUNDS):
        late = _late_now(market, last, fetched, fetch)
        late += [o.symbol for o in fetched.outcomes if o.status == "failed"]
        if not late or len(late) == len(listings):
            break
        time.sleep(yahoo.settings().late_bar_pause_seconds)
        fetched = fetched.updated(client.daily_bars(late, *span))
    return fetched


def without_answer(
    sessions: Sequence[date],
    listings: Sequence[Listing],
    fetched: "DailyBars",
    late: Sequence[str],
    stored: "pd.DataFrame",
) -> "list[Held]":
    """Rows that should be there and are not because the vendor has not answered (yet).

    They are noted in the quarantine, where the check and ``quant run`` find them; of a long range
    the last sessions stand for all. A row that is stored already is not missing, and an empty
    answer is a missing one only of a symbol that traded lately.
    """
    from quant_assets.domain.held import Held

    have = set(zip(stored["session_date"].dt.date, stored["symbol"], strict=True))
    traded = set(stored["symbol"])
    names = {listing.yahoo_symbol: listing.symbol for listing in listings}
    reasons = {
        o.symbol: f"{o.status}: {o.detail}"
        for o in fetched.outcomes
        if not o.is_answered or (o.status == "empty" and names[o.symbol] in traded)
    }
    reasons |= dict.fromkeys(late, "no bar yet, although it traded in the session before")
    return [
        Held(
            f"{session}",
            listing.symbol,
            NO_ANSWER,
            reason,
            "yahoo",
            {
                "first": f"{sessions[0]}",
                "last": f"{session}",
                "ask_again": listing.yahoo_symbol not in late,
            },
        )
        for listing in listings
        if (reason := reasons.get(listing.yahoo_symbol))
        for session in (sessions[-1:] if listing.yahoo_symbol in late else sessions[-NOTED:])
        if listing.trades_on(session) and (session, listing.symbol) not in have
    ]


def late_symbols(market: Market, last: date, fetched: "DailyBars") -> list[str]:
    """Answered symbols with a bar in the session before ``last`` and none in ``last``."""
    import pandas as pd

    before = market.sessions(last - MARGIN, last - timedelta(days=1))[-1]
    dates = fetched.bars["session_date"]
    have = set(fetched.bars.loc[dates == pd.Timestamp(last), "symbol"])
    traded = fetched.bars.loc[dates == pd.Timestamp(before), "symbol"]
    return [str(symbol) for symbol in traded if symbol not in have]


def stored_bars(market: Market, store: "ParquetStore", sessions: Sequence[date]) -> "pd.DataFrame":
    """What is stored of the sessions and of the time before that the rules look at."""
    asset = f"{market.key}/prices"
    days = market.sessions(sessions[0] - MARGIN, market.offset_session(sessions[-1], 1))
    frame = store.readable(dataset_of(asset), asset, [day.isoformat() for day in days])
    return frame[["session_date", "symbol", "close", "volume", "dividend", "split_ratio"]]


def refuse_open_sessions(market: Market, sessions: Sequence[date], clock: ClockResource) -> None:
    """Raise ``PermanentError`` if a session's bar does not count yet."""
    now = clock.now()
    early = [session for session in sessions if market.complete_at(session) > now]
    if early:
        counts_from = market.complete_at(early[0])
        raise PermanentError(
            f"{market.key}: the session {early[0]} is not complete: its bar counts from "
            f"{counts_from:%Y-%m-%d %H:%M} UTC (close plus {market.vendor_delay}); it is "
            f"{now:%Y-%m-%d %H:%M} UTC. Ask for it then; the last complete session is "
            f"{market.last_complete_session(now)}"
        )


def _late_now(market: Market, last: date, fetched: "DailyBars", fetch: "Fetch") -> list[str]:
    """Symbols whose bar of the session that has just closed has not come."""
    if fetch.is_rebuild or last != market.last_complete_session(fetch.now):
        return []
    return late_symbols(market, last, fetched)


def _shortfall(
    market: Market,
    yahoo: YahooResource,
    listings: Sequence[Listing],
    fetched: "DailyBars",
    late: Sequence[str],
) -> str:
    """Why the answers do not suffice, naming the failed symbols; empty if they do.

    One of several may fail. If none has a bar the calendar is in doubt, which is said later.
    """
    minimum_ratio = yahoo.settings().success_ratio(market.key)
    if all(o.status in ("empty", "unknown_symbol") for o in fetched.outcomes):
        return ""
    failed = [o for o in fetched.outcomes if o.status not in ("ok", "unknown_symbol")]
    ratio = 1 - (len(failed) + len(late)) / len(listings)
    is_one_of_several = len(failed) + len(late) == 1 and len(listings) > 1
    if ratio >= minimum_ratio or is_one_of_several:
        return ""
    told = [f"{o.symbol}: {o.detail or o.status}" for o in failed]
    shown = "; ".join([*told, *(f"{symbol}: no bar yet" for symbol in late)][:5])
    return (
        f"Yahoo answered for {ratio:.0%} of {len(listings)} symbols, "
        f"{minimum_ratio:.0%} are required (QUANT_MINIMUM_SUCCESS_RATIO). {shown}"
    )


def bars_of_sessions(
    market: Market,
    sessions: Sequence[date],
    listings: Sequence[Listing],
    fetched: "DailyBars",
    *,
    stored: "pd.DataFrame | None" = None,
    sift: "Sift | None" = None,
) -> tuple["JudgedBars", dict[str, Any]]:
    """As-traded rows of the sessions, the rows to hold, and what is to be said of them.

    ``stored`` is what is stored already, ``sift`` knows what was released; neither is needed.
    Raises ``BadDataError`` if no symbol has a bar in any of the sessions.
    """
    from quant_assets.domain.price_bars import VendorBars, judge_bars, renamed
    from quant_assets.io_managers.parquet_store import empty_frame

    names = {listing.yahoo_symbol: listing.symbol for listing in listings}
    given = VendorBars(
        renamed(fetched.bars, names),
        renamed(fetched.events, names),
        renamed(fetched.repeated, names),
        {names[o.symbol]: o.currency for o in fetched.outcomes if o.currency},
    )
    known = empty_frame(dataset_of(f"{market.key}/prices")) if stored is None else stored
    judged = judge_bars(market, sessions, given, known, sift or (lambda held: (list(held), [])))
    if judged.frame.empty and not judged.held:
        raise BadDataError(
            f"{market.key}: no symbol has a bar in {sessions[0]} .. {sessions[-1]}, although "
            f"{market.calendar} lists {len(sessions)} session(s): either the vendor is late or the "
            "calendar is wrong (QUANT_CALENDAR_OVERRIDES). Outcomes: "
            f"{_count_statuses(fetched)}"
        )
    return judged, _facts(judged, sessions, listings, fetched)


def _facts(
    judged: "JudgedBars",
    sessions: Sequence[date],
    listings: Sequence[Listing],
    fetched: "DailyBars",
) -> dict[str, Any]:
    frame = judged.frame
    missing = missing_bars(frame, sessions, listings)
    is_last = frame["session_date"].dt.date == sessions[-1]
    facts: dict[str, Any] = {
        "coverage": 1 - len(missing) / max(1, len(missing) + len(frame)),
        "missing_bars": len(missing),
        "symbols_asked": len(listings),
        "outcomes": _count_statuses(fetched),
        "last_session": _table(frame[is_last]),
    }
    if missing:
        facts["missing"] = markdown_table(["session", "symbol"], missing[:SHOWN])
    if judged.held:
        rows = [(one.partition, one.item, one.rule, one.reason) for one in judged.held[:SHOWN]]
        facts["quarantined"] = len(judged.held)
        facts["quarantine"] = markdown_table(["session", "symbol", "rule", "reason"], rows)
    if len(judged.revised):
        columns = list(judged.revised.columns)
        shown = judged.revised.astype({"session_date": str}).head(SHOWN)
        facts["revised_bars"] = len(judged.revised)
        facts["revised"] = markdown_table(columns, shown.to_numpy().tolist())
    return facts


def missing_bars(
    frame: "pd.DataFrame", sessions: Sequence[date], listings: Sequence[Listing]
) -> list[tuple[date, str]]:
    """(session, symbol) pairs that should have a bar and have none."""
    have = set(zip(frame["session_date"].dt.date, frame["symbol"], strict=True))
    return [pair for pair in expected_rows(sessions, listings) if pair not in have]


def _count_statuses(fetched: "DailyBars") -> str:
    statuses = [outcome.status for outcome in fetched.outcomes]
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    others = [f"{o.symbol}: {o.status}" for o in fetched.outcomes if o.status != "ok"][:10]
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{summary} ({'; '.join(others)})" if others else summary


def _table(frame: "pd.DataFrame") -> dg.MarkdownMetadataValue:
    """The bars of one session by traded value, largest first."""
    columns = ["symbol", "open", "high", "low", "close", "volume", "dividend", "split_ratio"]
    value = (frame["close"] * frame["volume"]).sort_values(ascending=False, kind="stable")
    return markdown_table(columns, frame.loc[value.index[:15], columns].to_numpy().tolist())
