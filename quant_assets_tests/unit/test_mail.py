"""Mails to a real SMTP server: what it receives, and what each of its refusals is turned into."""

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.notices import mail as mail_module
from quant_assets.notices.mail import MailServer, send
from quant_assets_tests.mailbox import Inbox, free_port, serving

PASSWORD = "s3cret-pass phrase"


def server(port: int, **fields: Any) -> MailServer:
    known: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "quant@desk.example",
        "recipients": ("ops@desk.example",),
    }
    return MailServer(**{**known, **fields})


def hand_in(to: MailServer, subject: str = "us_price fails", text: str = "line") -> None:
    send(to, subject=subject, text=text, message_id="abc.opened")


def test_a_mail_arrives_as_it_was_meant() -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        to = server(port, recipients=("ops@desk.example", "night@desk.example"))
        send(to, subject="가격: us_price fails", text="첫째 줄\n.\nlast", message_id="abc.opened")
        send(
            to,
            subject="it is over",
            text="well",
            message_id="abc.resolved",
            in_reply_to="abc.opened",
        )
    first, second = inbox.mails
    assert inbox.recipients == [["ops@desk.example", "night@desk.example"]] * 2
    assert first["Subject"] == "가격: us_price fails"
    assert first["From"] == "quant@desk.example"
    assert first["To"] == "ops@desk.example, night@desk.example"
    assert first["Message-ID"] == "<abc.opened@desk.example>"
    assert first["Date"].datetime is not None
    assert first.get_content_type() == "text/plain"
    assert first.get_content().splitlines() == ["첫째 줄", ".", "last"]
    assert second["In-Reply-To"] == second["References"] == "<abc.opened@desk.example>"
    assert first["In-Reply-To"] is None


def test_a_hostile_text_makes_no_header_and_no_second_mail() -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        hand_in(
            server(port),
            subject="fails\r\nBcc: thief@evil.example\r\n\r\nbody \x1b[2J " + "x" * 500,
            text="\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n\x00\u202e \ud800 end",
        )
    (mail,) = inbox.mails
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("fails Bcc: thief@evil.example body [2J xxx")
    assert len(mail["Subject"]) <= 200
    assert inbox.recipients == [["ops@desk.example"]]
    assert mail.get_content().splitlines()[1:3] == [".", "MAIL FROM:<evil@evil.example>"]


class Doorman:
    """Lets one user in, and says more than it should to the others."""

    def __call__(self, server: Any, session: Any, envelope: Any, method: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        is_right = (data.login, data.password) == (b"quant", PASSWORD.encode())
        if is_right:
            return AuthResult(success=True)
        return AuthResult(
            success=False,
            handled=False,
            message=f"535 5.7.8 wrong: {data.password.decode()} / {PASSWORD}",
        )


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_the_login_is_used_and_a_refused_one_names_its_settings_without_the_password() -> None:
    inbox = Inbox()
    options = {"authenticator": Doorman(), "auth_required": True, "auth_require_tls": False}
    with serving(inbox, **options) as port:
        hand_in(server(port, username="quant", password=PASSWORD))
        with pytest.raises(BadConfigurationError) as refused:
            hand_in(server(port, username="quant", password="another pass"))
        with pytest.raises(BadConfigurationError, match="QUANT_SMTP_USERNAME"):
            hand_in(server(port))
    assert len(inbox.mails) == 1
    said = str(refused.value)
    assert "QUANT_SMTP_PASSWORD" in said
    assert "another pass" not in said
    assert refused.value.__cause__ is None
    assert PASSWORD not in repr(server(1, password=PASSWORD))


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ({"mail": "550 5.7.1 sender rejected"}, BadConfigurationError, "QUANT_MAIL_FROM"),
        ({"mail": "451 4.3.0 try later"}, TransientError, "try later"),
        ({"rcpt": "550 no such user"}, BadConfigurationError, "QUANT_MAIL_TO"),
        ({"rcpt": "450 greylisted"}, TransientError, "greylisted"),
        ({"data": "554 looks like spam"}, BadConfigurationError, "looks like spam"),
        ({"data": "452 disk full"}, TransientError, "disk full"),
    ],
)
def test_each_refusal_says_whether_to_wait_or_what_to_change(
    answers: dict[str, str], error: type[Exception], said: str
) -> None:
    inbox = Inbox(**answers)
    with serving(inbox) as port, pytest.raises(error, match=said) as refused:
        hand_in(server(port))
    assert f"127.0.0.1:{port}" in str(refused.value)
    assert inbox.mails == []


def test_one_wrong_address_does_not_keep_the_mail_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        hand_in(server(port, recipients=("nobody@desk.example", "ops@desk.example")))
    assert inbox.recipients == [["ops@desk.example"]]
    (record,) = caplog.records
    assert "nobody@desk.example" in record.getMessage()


def test_a_server_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(TransientError, match="QUANT_SMTP_PORT"):
        hand_in(server(free_port()))


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TransientError, match="does not answer"):
            hand_in(server(silent.getsockname()[1]))


def test_a_server_that_takes_its_time_at_each_step_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer comes in time, all of them together do not."""
    monkeypatch.setattr(mail_module, "TOTAL_SECONDS", 0.0)
    inbox = Inbox()
    with serving(inbox) as port, pytest.raises(TransientError, match="takes too long"):
        hand_in(server(port))
    assert inbox.mails == []


@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_server_that_never_ends_its_greeting_is_given_up(
    security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line comes in time; what ends it is the limit of them all."""
    monkeypatch.setattr(mail_module, "TOTAL_SECONDS", 0.5)
    is_over = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            greeting = b"220-wait\r\n" if security == "none" else b"\x16\x03\x03\x40\x00"
            with connection, contextlib.suppress(OSError):
                connection.sendall(greeting)
                while not is_over.wait(0.05):
                    connection.sendall(b"220-wait\r\n" if security == "none" else b"\x00")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            with pytest.raises(TransientError, match=r"takes too long|does not answer"):
                hand_in(server(listener.getsockname()[1], security=security))
        finally:
            is_over.set()
            thread.join(5)


def test_an_address_that_cannot_be_written_is_a_wrong_setting() -> None:
    with pytest.raises(BadConfigurationError, match="QUANT_MAIL_TO"):
        hand_in(server(1, recipients=("ops@",)))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    paths = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-out", str(paths[0]), "-keyout", str(paths[1]), "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return paths


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    return context


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_go_through_tls_to_a_server_that_is_trusted(
    security: str,
    tls: ssl.SSLContext,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inbox = Inbox()
    options: dict[str, Any] = (
        {"tls_context": tls, "require_starttls": True}
        if security == "starttls"
        else {"ssl_context": tls}
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with serving(inbox, **options) as port:
        hand_in(server(port, security=security))
        assert len(inbox.mails) == 1
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(BadConfigurationError, match="SSL_CERT_FILE"):
            hand_in(server(port, security=security))
        other = "tls" if security == "starttls" else "none"
        monkeypatch.setattr(mail_module, "TIMEOUT_SECONDS", 0.5)
        with pytest.raises((BadConfigurationError, TransientError), match="QUANT_SMTP"):
            hand_in(server(port, security=other))
    assert len(inbox.mails) == 1


def test_a_server_without_starttls_is_refused() -> None:
    inbox = Inbox()
    with serving(inbox) as port, pytest.raises(BadConfigurationError, match="QUANT_SMTP_SECURITY"):
        hand_in(server(port, security="starttls"))
    assert inbox.mails == []
