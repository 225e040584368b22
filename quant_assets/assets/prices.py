"""``us/prices`` and ``kr/prices``. What belongs here: fetching daily bars, recording coverage."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, dataset_spec, markdown_table, record, run_sessions
from quant_assets.errors import BadConfigurationError, BadDataError, PermanentError, TransientError
from quant_assets.markets import Listing, Market, expected_rows
from quant_assets.partitions import session_partitions
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, typed_failures
from quant_assets.resources import ClockResource, YahooResource

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.vendors.yahoo import DailyBars

EVENT_MARGIN = timedelta(days=14)
"""Asked before the first session, so that an event on a closure finds the bar after it."""


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
        context: dg.AssetExecutionContext, yahoo: YahooResource, clock: ClockResource
    ) -> Any:
        with typed_failures():
            sessions = run_sessions(context)
            refuse_open_sessions(market, sessions, clock)
            listings = [
                listing
                for listing in yahoo.listings(market.key)
                if listing.trades_between(sessions[0], sessions[-1])
            ]
            if not listings:
                raise BadConfigurationError(
                    f"{market.key}: no symbol of the universe was listed between {sessions[0]} and "
                    f"{sessions[-1]}"
                )
            fetched = yahoo.client().daily_bars(
                [listing.yahoo_symbol for listing in listings],
                sessions[0] - EVENT_MARGIN,
                clock.now().date(),
            )
            _demand_success(fetched, listings, yahoo.settings().minimum_success_ratio)
            frame, facts = bars_of_sessions(market, sessions, listings, fetched)
            return record(context, frame, facts)

    return prices


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


def _demand_success(
    fetched: "DailyBars", listings: Sequence[Listing], minimum_ratio: float
) -> None:
    """Raise ``TransientError`` if too few symbols were answered, naming the failed ones.

    One of several may fail. If none has a bar the calendar is in doubt, which is said later.
    """
    if all(o.status in ("empty", "unknown_symbol") for o in fetched.outcomes):
        return
    failed = [o for o in fetched.outcomes if o.status not in ("ok", "unknown_symbol")]
    ratio = 1 - len(failed) / len(listings)
    is_one_of_several = len(failed) == 1 and len(listings) > 1
    if ratio < minimum_ratio and not is_one_of_several:
        shown = "; ".join(f"{o.symbol}: {o.detail}" for o in failed[:5])
        raise TransientError(
            f"Yahoo answered for {ratio:.0%} of {len(listings)} symbols, "
            f"{minimum_ratio:.0%} are required (QUANT_MINIMUM_SUCCESS_RATIO). {shown}"
        )


def bars_of_sessions(
    market: Market, sessions: Sequence[date], listings: Sequence[Listing], fetched: "DailyBars"
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """As-traded rows of the sessions and what is to be said of them.

    Rows on days without a session, rows that break the rules of a bar and symbols with an
    impossible split or dividend are left out and named in the facts. Raises ``BadDataError`` if
    no symbol has a bar in any of the sessions.
    """
    import pandas as pd

    from quant_assets.domain.adjustment import as_traded
    from quant_assets.domain.price_quality import impossible_events, separate_bad_bars

    good, bad = separate_bad_bars(fetched.bars)
    refused = impossible_events(good, fetched.events)
    good = good[~good["symbol"].isin(list(refused))].reset_index(drop=True)
    events = fetched.events[~fetched.events["symbol"].isin(list(refused))]
    traded = as_traded(good, events, price_decimals=market.price_decimals)
    wanted = pd.to_datetime(sessions)
    frame = traded[traded["session_date"].isin(wanted)]
    if frame.empty:
        raise BadDataError(
            f"{market.key}: no symbol has a bar in {sessions[0]} .. {sessions[-1]}, although "
            f"{market.calendar} lists {len(sessions)} session(s): either the vendor is late or the "
            "calendar is wrong (QUANT_CALENDAR_OVERRIDES). Outcomes: "
            f"{_count_statuses(fetched)}"
        )
    names = {listing.yahoo_symbol: listing.symbol for listing in listings}
    complete_at = {pd.Timestamp(s): pd.Timestamp(market.complete_at(s)) for s in sessions}
    frame = frame.assign(
        symbol=frame["symbol"].map(names),
        available_at=frame["session_date"].map(complete_at),
    )
    inside = traded["session_date"].between(wanted[0], wanted[-1])
    is_closure = ~traded["session_date"].dt.date.map(market.is_session)
    missing = missing_bars(frame, sessions, listings)
    facts = {
        "coverage": 1 - len(missing) / max(1, len(missing) + len(frame)),
        "missing_bars": len(missing),
        "symbols_asked": len(listings),
        "outcomes": _count_statuses(fetched),
        "last_session": _table(frame[frame["session_date"] == wanted[-1]]),
    }
    if missing:
        facts["missing"] = markdown_table(["session", "symbol"], missing[:50])
    if len(bad):
        columns = ["session_date", "symbol", "reason"]
        rows = bad[columns].astype(str).head(50)
        facts["bad_bars"] = markdown_table(columns, rows.to_numpy().tolist())
    if refused:
        facts["bad_events"] = markdown_table(["symbol", "reason"], list(refused.items()))
    if (is_closure & inside).any():
        facts["bars_on_closures"] = int((is_closure & inside).sum())
    return frame, facts


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
