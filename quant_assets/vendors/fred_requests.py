"""Requests to FRED. What belongs here: key, pace (120 requests a minute), answers, refusals.

What does not: what is asked and what its tables mean (``fred``).
"""

import xml.etree.ElementTree as ElementTree
from typing import Any

import fredapi
import requests

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    TransientError,
)
from quant_assets.vendors.http import HttpCaller, Pacer, build_session

LIVE_URL = "https://api.stlouisfed.org/fred"
_USER_AGENT = "quant-assets (requests)"
_KEY_NAME = "FRED_API_KEY"


class FredRequestError(PermanentError, ValueError):
    """FRED refused a request for good: wrong key, unknown series, wrong argument.

    It is a ``ValueError`` too, because that is what users of fredapi catch.
    """


class KeyRefusedError(FredRequestError):
    """FRED refused the key: it would refuse it for every other series as well."""


class NoVintagesError(FredRequestError):
    """ALFRED has no vintage of the series in the period asked for, or none at all."""


class FredRequests(fredapi.Fred):  # type: ignore[misc]
    """The transport of ``FredClient``, below fredapi's methods too."""

    def __init__(
        self,
        api_key: str,
        root_url: str = LIVE_URL,
        session: requests.Session | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """Prepare the client; no request is made.

        ``fredapi.Fred.__init__`` is skipped: it would install a process-wide urllib opener.
        """
        if not api_key:
            raise BadConfigurationError(
                f"FRED needs a key: set {_KEY_NAME} (free at fredaccount.stlouisfed.org/apikeys)"
            )
        self.api_key = api_key
        self.root_url = root_url.rstrip("/")
        self.proxies = None
        self._caller = HttpCaller(
            "FRED",
            session
            or build_session(
                retries=3, backoff_seconds=1.0, timeout_seconds=10.0, user_agent=_USER_AGENT
            ),
            pacer=pacer or Pacer(max_per_minute=120),
            secrets=(api_key,),
            key_name=_KEY_NAME,
        )

    def _json(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        endpoint = f"{path} of {params['series_id']}"
        response = self._caller.get(
            f"{self.root_url}/{path}",
            endpoint=endpoint,
            params={**params, "file_type": "json", "api_key": self.api_key},
            understood=(400, 401, 403),
        )
        if response.status_code in (401, 403):
            raise KeyRefusedError(
                f"FRED {endpoint}: access refused (HTTP {response.status_code}); check {_KEY_NAME}"
            )
        body = self._caller.json(response, endpoint=endpoint)
        if not isinstance(body, dict):
            raise BadDataError(f"FRED {endpoint}: the answer is a {type(body).__name__}")
        if response.status_code == 400 or "error_message" in body:
            raise self._refusal(endpoint, str(body.get("error_message", "request refused")))
        return body

    def _refusal(self, endpoint: str, message: str) -> PermanentError:
        told = self._caller.redact(" ".join(message.split()))
        if "ALFRED" in message:
            return NoVintagesError(
                f"FRED {endpoint}: {told} (without vintages, give it a publication lag)"
            )
        if "api_key" in message:
            return KeyRefusedError(f"FRED {endpoint}: {told} (check {_KEY_NAME})")
        return FredRequestError(f"FRED {endpoint}: {told} (check the series and the dates)")

    def _Fred__fetch_data(self, url: str) -> ElementTree.Element:  # noqa: N802
        """Answer fredapi's requests: its one choke point, name-mangled in the parent class."""
        path = url.removeprefix(self.root_url).split("?", 1)[0].strip("/")
        response = self._caller.get(
            f"{url}&api_key={self.api_key}", endpoint=path, expects="xml", understood=(400,)
        )
        try:
            root = ElementTree.fromstring(response.content)
        except ElementTree.ParseError as error:
            problem = str(error)
        else:
            if response.status_code == 400 or root.tag == "error":
                raise self._refusal(path, root.get("message") or "request refused")
            return root
        raise TransientError(f"FRED {path}: the body is not valid XML ({problem}); try again later")
