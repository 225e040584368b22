"""Telling incidents. What belongs here: Slack and mail, each with its record, no opinion."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from quant_assets.errors import QuantAssetsError, TransientError
from quant_assets.notices import mail
from quant_assets.notices.incidents import Incident, delivered
from quant_assets.notices.mail import MailServer
from quant_assets.notices.reports import due_mail, incident_mail, incident_thread, mail_name
from quant_assets.notices.thread import ThreadState
from quant_assets.sensors.alert_memory import MailTrouble, Memory
from quant_assets.settings import Settings

if TYPE_CHECKING:
    from quant_assets.notices.courier import Courier

PATIENCE_SECONDS = 2.5
"""A channel takes a message a second, a message an edit in two: so long is waited for the next."""
STEP_SECONDS = 0.1
FORGIVE_EVERY = timedelta(minutes=10)
FORGIVABLE = ("channel_not_found", "not_in_channel", "is_archived", "restricted_action")
"""Refusals that a person can end, and after which nothing is there that could be told twice."""
FIRST_MAIL_WAIT, LONGEST_MAIL_WAIT = timedelta(minutes=1), timedelta(minutes=30)
MAILS_REMEMBERED = 10

Keep = Callable[[Memory], None]


class Desk:
    """Tells the incidents of ``memory`` and keeps what was told before and after each step."""

    def __init__(self, memory: Memory, keep: Keep, values: Settings, now: datetime) -> None:
        self.memory = memory
        self.problems: list[str] = []
        self._keep_memory = keep
        self._values = values
        self._now = now

    def tell_slack(self, courier: "Courier", until: float) -> None:
        """Bring the threads up to date, as far as Slack lets and ``until`` allows."""
        self._forgive()
        self._deliver_all(courier, until)
        for incident in self.memory.incidents:
            if incident.thread.problem:
                self.problems.append(f"Slack: {incident.title}: {incident.thread.problem}")
        untold = sum(not _is_posted(incident) for incident in self.memory.incidents)
        if untold:
            self.problems.append(f"Slack: {untold} not told yet")

    def _deliver_all(self, courier: "Courier", until: float) -> None:
        waiting = [i.thread_key for i in self.memory.incidents if not i.thread.problem]
        moved_at = time.monotonic()
        while waiting and time.monotonic() < until:
            for key in list(waiting):
                before = self._incident(key)
                try:
                    is_told = self._deliver(courier, before, until)
                except TransientError as error:
                    self.problems.append(f"Slack: {error}; told later")
                    is_told = True
                except QuantAssetsError as error:
                    self.problems.append(f"Slack: {error}")
                    return
                if is_told:
                    waiting.remove(key)
                if self._incident(key) is not before:
                    moved_at = time.monotonic()
            if not waiting or time.monotonic() - moved_at > PATIENCE_SECONDS:
                return
            time.sleep(STEP_SECONDS)

    def tell_mail(self, server: MailServer, log: logging.Logger, until: float) -> None:
        """Hand in the mails that are due. A server that fails is left alone for a while."""
        trouble = self.memory.mail
        for key in [i.thread_key for i in self.memory.incidents]:
            incident = self._incident(key)
            kind = due_mail(incident)
            if kind is None:
                continue
            name = mail_name(incident, kind)
            if incident.mailing == name:
                # The process died while it handed this mail in: it is not sent twice.
                self._mailed(incident, name)
                continue
            wait = timedelta(0) if trouble is None else trouble.retry_at - self._now
            if trouble is not None and timedelta(0) < wait <= LONGEST_MAIL_WAIT:
                self.problems.append(f"{trouble.text}; tried again at {trouble.retry_at:%H:%M} UTC")
                return
            if time.monotonic() >= until:
                return
            if not self._send(server, incident, log):
                return

    def _send(self, server: MailServer, incident: Incident, log: logging.Logger) -> bool:
        kind = due_mail(incident)
        assert kind is not None
        letter = incident_mail(incident, kind)
        self._replace(incident, mailing=letter.name)
        try:
            mail.send(
                server,
                subject=letter.subject,
                text=letter.text,
                message_id=letter.name,
                in_reply_to=letter.in_reply_to,
            )
        except QuantAssetsError as error:
            self._replace(incident, mailing="")
            self._mail_failed(str(error), log)
            return False
        self._mailed(incident, letter.name)
        if self.memory.mail is not None:
            log.warning("mail: %s takes mails again", server.address)
            self._keep(mail=None)
        return True

    def _mailed(self, incident: Incident, name: str) -> None:
        self._replace(incident, mailing="", mailed=(*incident.mailed, name)[-MAILS_REMEMBERED:])

    def _mail_failed(self, text: str, log: logging.Logger) -> None:
        before = self.memory.mail
        failures = 1 if before is None else before.failures + 1
        wait = min(FIRST_MAIL_WAIT * (1 << min(failures - 1, 10)), LONGEST_MAIL_WAIT)
        if before is None or before.text != text:
            log.warning("%s; tried again later", text)
        self.problems.append(f"{text}; tried again later")
        self._keep(mail=MailTrouble(text, failures, self._now + wait))

    def _deliver(self, courier: "Courier", incident: Incident, until: float) -> bool:
        """Send what the thread lacks; whether there is nothing more to wait for."""
        channel = self._values.alert_channel(incident.filed_as)
        view = incident_thread(incident, channel)

        def keep(state: ThreadState) -> None:
            current = self._incident(incident.thread_key)
            self._put(current, delivered(current, state))

        state = courier.deliver(view, incident.thread, keep, until=until)
        return state.is_done or _is_posted(self._incident(incident.thread_key))

    def _forgive(self) -> None:
        """Give threads without a channel another try from time to time: it may be there now."""
        given_up = [i for i in self.memory.incidents if _is_forgivable(i.thread)]
        last = self.memory.forgiven_at
        age = None if last is None else self._now - last
        if not given_up or (age is not None and timedelta(0) <= age < FORGIVE_EVERY):
            return
        if last is not None:
            for incident in given_up:
                self._replace(incident, thread=ThreadState())
        self._keep(forgiven_at=self._now)

    def _incident(self, thread_key: str) -> Incident:
        return next(i for i in self.memory.incidents if i.thread_key == thread_key)

    def _replace(self, incident: Incident, **changes: object) -> None:
        self._put(incident, msgspec.structs.replace(incident, **changes))

    def _put(self, incident: Incident, changed: Incident) -> None:
        key = incident.thread_key
        others: Iterable[Incident] = self.memory.incidents
        self._keep(incidents=tuple(changed if i.thread_key == key else i for i in others))

    def _keep(self, **changes: object) -> None:
        self.memory = msgspec.structs.replace(self.memory, **changes)
        self._keep_memory(self.memory)


def _is_forgivable(thread: ThreadState) -> bool:
    """Whether a thread was given up before it was begun, for want of its channel."""
    return not thread.line_ts and any(code in thread.problem for code in FORGIVABLE)


def _is_posted(incident: Incident) -> bool:
    """Whether Slack has all replies of an incident, or will never have them."""
    thread = incident.thread
    if thread.problem:
        return True
    is_whole = bool(thread.line_ts) and not thread.is_pending and not incident.notes
    return is_whole and (incident.is_open or thread.is_done)
