"""Scripted misbehaviour. What belongs here: which request a fault hits, not what it does to it.

What concerns the transport (status, delay, reset, lost, truncated, malformed) the server does;
what concerns the content (duplicate, late, ...) the vendor's module does, on simulated and replayed
data alike. After ``status`` and ``reset`` the vendor has done nothing; after ``lost``,
``truncated`` and ``malformed`` it has done its work and only the client does not know.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox.randomness import small_random

ENDPOINTS = ("yahoo.cookie", "yahoo.crumb", "yahoo.chart", "fred", "alpha_vantage", "rss", "slack")
TRANSPORT_KINDS: Mapping[str, str] = {
    "status": "answer with `code` (500), `retry_after` seconds, a `body` of html or json",
    "delay": "wait `seconds` (1.0) before answering",
    "reset": "close the connection without an answer",
    "lost": "do the work, wait `seconds` (0), then close, or with `code` answer that status",
    "truncated": "announce the whole body and close after half of it",
    "malformed": "a body that does not parse; `wrong_types=True`: one that parses into nonsense",
    "empty": "a well-formed answer without rows; `body=True`: an answer without a body",
}
_CHART_KINDS = {
    "duplicate": "the last bar stands twice",
    "wrong_units": "prices times `factor` (100) in the last `rows` (all) bars",
    "revised": "volumes restated by `factor` (1.03)",
    "null_row": "a bar of nulls in place of the last one",
    "zero_rows": "a bar of zeros in place of the last one",
    "holiday_row": "a bar on the closure before the last session",
    "late": "the last session is missing",
    "half": "every second symbol is empty, or with `code` answers that status",
}
CONTENT_KINDS: Mapping[str, Mapping[str, str]] = {
    "yahoo.cookie": {},
    "yahoo.crumb": {},
    "yahoo.chart": _CHART_KINDS,
    "fred": {
        "duplicate": "the last observation stands twice",
        "revised": "values times `factor` (1.01)",
        "late": "the last release is missing",
        "half": "every second series is empty, or with `code` answers that status",
    },
    "alpha_vantage": {
        "duplicate": "every article stands twice",
        "late": "articles of the last `hours` (6) are missing",
        "half": "every second ticker is empty, or with `code` answers that status",
        "quota": "the daily allowance is used up",
        "rate": "the burst limit is exceeded",
    },
    "rss": {
        "duplicate": "every item stands twice",
        "late": "items of the last `hours` (6) are missing",
    },
    "slack": {"error": "ok: false with the code `error` (`fatal_error`)"},
}
_OPTIONS: Mapping[str, frozenset[str]] = {
    "status": frozenset({"code", "retry_after", "body"}),
    "delay": frozenset({"seconds"}),
    "lost": frozenset({"seconds", "code", "retry_after", "body"}),
    "malformed": frozenset({"wrong_types"}),
    "empty": frozenset({"body"}),
    "wrong_units": frozenset({"factor", "rows"}),
    "revised": frozenset({"factor"}),
    "late": frozenset({"hours"}),
    "half": frozenset({"code"}),
    "error": frozenset({"error"}),
}
_SUBJECTS = ("symbols", "series", "feeds")
_COMMON = ("times", "probability", "history_only", "methods")


class Fault:
    """One scripted misbehaviour of one endpoint.

    ``symbols``, ``series`` or ``feeds`` limit it to these subjects, ``methods`` to these Slack
    methods, ``times`` to that many requests (``None``: all), ``probability`` to a random share of
    them; ``history_only`` leaves Yahoo's time-zone requests alone. Options belong to the kind:
    see ``TRANSPORT_KINDS`` and ``CONTENT_KINDS``.
    """

    def __init__(
        self,
        endpoint: str,
        kind: str,
        *,
        symbols: Iterable[str] | None = None,
        series: Iterable[str] | None = None,
        feeds: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        times: int | None = None,
        probability: float = 1.0,
        history_only: bool = False,
        **options: Any,
    ) -> None:
        _check(endpoint, kind, probability, options)
        self.endpoint = endpoint
        self.kind = kind
        chosen = [set(names) for names in (symbols, series, feeds) if names is not None]
        self.subjects = frozenset().union(*chosen) if chosen else None
        self.methods = None if methods is None else frozenset(methods)
        self.times = times
        self.probability = probability
        self.history_only = history_only
        self.options = options
        self.hits = 0

    @property
    def is_spent(self) -> bool:
        """Whether it has hit as often as it may."""
        return self.times is not None and self.hits >= self.times

    def concerns(self, endpoint: str, subject: str, method: str, is_history: bool) -> bool:
        """Whether it may hit such a request."""
        return (
            endpoint == self.endpoint
            and not self.is_spent
            and (self.subjects is None or subject in self.subjects)
            and (self.methods is None or method in self.methods)
            and (is_history or not self.history_only)
        )

    def option(self, name: str, default: Any) -> Any:
        """Value of an option of its kind."""
        return self.options.get(name, default)

    def as_dict(self) -> dict[str, Any]:
        """JSON form, with the number of requests hit so far."""
        content: dict[str, Any] = {"endpoint": self.endpoint, "kind": self.kind}
        if self.subjects is not None:
            content["subjects"] = sorted(self.subjects)
        if self.methods is not None:
            content["methods"] = sorted(self.methods)
        content |= {"times": self.times, "probability": self.probability, "hits": self.hits}
        return content | {"history_only": self.history_only} | self.options


def fault_from_dict(content: Mapping[str, Any]) -> Fault:
    """Fault from its JSON form; ``BadConfigurationError`` lists the names that it may have."""
    given = dict(content)
    given.pop("hits", None)
    if "subjects" in given:
        given["symbols"] = given.pop("subjects")
    try:
        return Fault(given.pop("endpoint"), given.pop("kind"), **given)
    except (KeyError, TypeError) as error:
        raise BadConfigurationError(
            f"a fault needs 'endpoint' and 'kind' and may have {', '.join((*_SUBJECTS, *_COMMON))} "
            f"and options of its kind: {error!r} in {dict(content)!r}"
        ) from error


def _check(endpoint: str, kind: str, probability: float, options: Mapping[str, Any]) -> None:
    if endpoint not in ENDPOINTS:
        raise BadConfigurationError(
            f"fault endpoint {endpoint!r} is none of {', '.join(ENDPOINTS)}"
        )
    kinds = {**TRANSPORT_KINDS, **CONTENT_KINDS[endpoint]}
    if kind not in kinds:
        raise BadConfigurationError(
            f"fault kind {kind!r} of {endpoint} is none of {', '.join(kinds)}"
        )
    if not 0.0 <= probability <= 1.0:
        raise BadConfigurationError(f"fault probability {probability!r} is not between 0 and 1")
    allowed = _OPTIONS.get(kind, frozenset())
    if unknown := set(options) - allowed:
        raise BadConfigurationError(
            f"fault kind {kind!r} has no option {', '.join(sorted(unknown))}; "
            f"it has {', '.join(sorted(allowed)) or 'none'}"
        )


class FaultBook:
    """The faults in force. Thread-safe."""

    def __init__(self, seed: int = 0) -> None:
        self._random = small_random(seed, "faults")
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._seen: dict[tuple[int, str], int] = {}

    def add(self, fault: Fault) -> Fault:
        """Put ``fault`` in force."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Lift every fault."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def all(self) -> tuple[Fault, ...]:
        """Every fault that was added, spent ones too, oldest first."""
        with self._lock:
            return tuple(self._faults)

    def draw(
        self, endpoint: str, subject: str, *, method: str = "", is_history: bool = True
    ) -> tuple[Fault, ...]:
        """Faults that hit this request; each draw counts."""
        with self._lock:
            drawn = []
            for fault in self._faults:
                if not fault.concerns(endpoint, subject, method, is_history):
                    continue
                if fault.probability < 1.0 and self._random.random() >= fault.probability:
                    continue
                if fault.kind == "half" and not self._is_second(fault, subject):
                    continue
                fault.hits += 1
                drawn.append(fault)
            return tuple(drawn)

    def _is_second(self, fault: Fault, subject: str) -> bool:
        """Whether ``subject`` came second, fourth, ... among those that ``fault`` has seen."""
        key = (id(fault), subject)
        place = self._seen.setdefault(key, sum(1 for seen in self._seen if seen[0] == id(fault)))
        return place % 2 == 1
