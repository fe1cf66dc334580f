"""Each alert is told once and resolved once, by sinks that fail, through restarts, without a word of data."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from customer360.platform import alerts
from customer360.platform.alerts import Alert
from customer360.platform.connections.webhook import Webhook
from customer360.platform.errors import AccessDenied, ConfigError, Customer360Error, TransientError
from customer360.platform.settings import Settings, load
from customer360.platform.sinks import AlertSettings, Notice, SlackSink, SmtpSink, WebhookSink
from customer360.platform.sources.protocols.hooks import signatures

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = Alert("late", "source erp", "no new rows for 3.0 hours, 60 minutes are allowed")
DEAD = Alert("failed", "source app", "it failed in 2 runs in a row")
NOTICE = Notice("alert-1", "open", "late", "source erp <!channel>", "3 hours & more", "then", "now", "shop")


class Receiver(HTTPServer):
    """Takes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"

    @property
    def told(self) -> list[tuple[str, str, str]]:
        said = (json.loads(body) for _, body in self.got)
        return [(each["state"], each["kind"], each["subject"]) for each in said]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.codes.pop(0) if self.server.codes else 204
        if code < 300:
            self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def shop(tmp_path: Path, **sinks: Any) -> Settings:
    return Settings(name="shop", state=str(tmp_path), alerts=AlertSettings(sinks=sinks))


def test_one_message_when_it_opens_and_one_when_it_is_resolved(tmp_path: Path, receiver: Receiver) -> None:
    settings = shop(tmp_path, ops=WebhookSink(url=receiver.url))
    for minute in range(5):  # each look is of a process of its own: nothing but the file is remembered
        alerts.look(settings, [LATE], NOW + timedelta(minutes=minute))
    alerts.look(settings, [LATE, DEAD], NOW + timedelta(minutes=6))
    alerts.look(settings, [DEAD], NOW + timedelta(minutes=7))
    alerts.look(settings, [], NOW + timedelta(minutes=8))
    alerts.look(settings, [], NOW + timedelta(minutes=9))
    alerts.look(settings, [LATE], NOW + timedelta(minutes=10))  # once more is another one
    assert receiver.told == [
        ("open", "late", "source erp"),
        ("open", "failed", "source app"),
        ("resolved", "late", "source erp"),
        ("resolved", "failed", "source app"),
        ("open", "late", "source erp"),
    ]
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(set(ids)) == 5
    resolved = json.loads(receiver.got[2][1])
    assert resolved["since"] == "2026-03-01T12:00:00+00:00" and resolved["at"] == "2026-03-01T12:07:00+00:00"


def test_what_a_sink_does_not_take_is_tried_again_in_order(tmp_path: Path, receiver: Receiver) -> None:
    settings = shop(tmp_path, ops=WebhookSink(url=receiver.url))
    receiver.codes = [500, 503]
    alerts.look(settings, [LATE], NOW)
    alerts.look(settings, [], NOW + timedelta(seconds=30))  # resolved before the first was taken
    assert receiver.got == [] and receiver.codes == [503], "it is not asked before its pause is over"
    known = alerts.look(settings, [], NOW + timedelta(minutes=2))
    assert known and [each.fault for each in known.sending] == ["it answers 503", ""]
    alerts.look(settings, [], NOW + timedelta(minutes=30))
    assert [state for state, _, _ in receiver.told] == ["open", "resolved"]
    assert alerts.read(tmp_path).sending == []


def test_a_process_that_dies_while_it_sends_sends_the_same_message(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = shop(tmp_path, ops=WebhookSink(url=receiver.url))
    write, count = alerts._write, 0

    def dies(*words: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:  # after it was sent, before that is noted
            raise KeyboardInterrupt
        write(*words)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(alerts, "_write", dies)
        alerts.look(settings, [LATE], NOW)
    alerts.look(settings, [LATE], NOW + timedelta(minutes=1))
    alerts.look(settings, [LATE], NOW + timedelta(minutes=2))
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1 and len(receiver.got) == 2


def test_a_message_that_nobody_takes_is_given_up_and_other_sinks_are_told(tmp_path: Path, receiver: Receiver) -> None:
    dead = WebhookSink(url="http://127.0.0.1:9/none", timeout_seconds=0.5)
    settings = shop(tmp_path, dead=dead, ops=WebhookSink(url=receiver.url, kinds=["late"]))
    alerts.look(settings, [LATE, DEAD], NOW)
    assert receiver.told == [("open", "late", "source erp")], "a sink gets the kinds that it names"
    now = NOW
    while now < NOW + timedelta(hours=26):
        now += timedelta(minutes=30)
        alerts.look(settings, [LATE, DEAD], now)
    known = alerts.read(tmp_path)
    assert known.sending == [] and len(known.open) == 2 and len(receiver.got) == 1


def test_who_comes_second_leaves_it_to_the_first(tmp_path: Path) -> None:
    with alerts._alone(tmp_path) as first:
        assert first and alerts.look(shop(tmp_path), [LATE], NOW) is None


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    alerts.look(shop(tmp_path), [LATE], NOW)
    (tmp_path / alerts.FOLDER / "alerts.json").write_text("{half")
    with pytest.raises(Customer360Error, match=r"alerts\.json is damaged: delete it"):
        alerts.look(shop(tmp_path), [LATE], NOW)


@pytest.mark.parametrize("secret", ["of-the-shop", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_a_signed_message_is_believed_by_a_receiver_of_standard_webhooks(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("ALERT_SECRET", secret)
    WebhookSink(url=receiver.url, secret_env="ALERT_SECRET").send(NOTICE)
    headers, body = receiver.got[0]
    sender = Webhook(scheme="standard", secret_env="ALERT_SECRET")
    assert signatures.verified(sender, headers, body, datetime.now(UTC)).id.startswith("alert-1:")
    with pytest.raises(AccessDenied):
        signatures.verified(sender, headers, body + b" ", datetime.now(UTC))


def test_slack_is_told_nothing_that_calls_people(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", receiver.url)
    SlackSink(url_env="SLACK_URL").send(NOTICE)
    assert json.loads(receiver.got[0][1]) == {
        "text": ":red_circle: *[shop] late: source erp &lt;!channel&gt;*\n3 hours &amp; more"
    }
    receiver.codes = [302]
    with pytest.raises(TransientError, match="it answers 302"):
        SlackSink(url_env="SLACK_URL").send(NOTICE)
    monkeypatch.setenv("SLACK_URL", "http://127.0.0.1:9/T0/secret")
    with pytest.raises(TransientError) as fault:
        SlackSink(url_env="SLACK_URL").send(NOTICE)
    assert "secret" not in str(fault.value)
    monkeypatch.delenv("SLACK_URL")
    with pytest.raises(ConfigError, match="SLACK_URL"):
        SlackSink(url_env="SLACK_URL").send(NOTICE)


# ---- e-mail, by a real server -----------------------------------------------------------------------------------


@contextmanager
def mail_server(**options: Any) -> Iterator[Any]:
    controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")

    class Keeper:
        def __init__(self) -> None:
            self.got: list[Any] = []

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            self.got.append(envelope)
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = controller.Controller(Keeper(), hostname="127.0.0.1", port=port, **options)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_e_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as server:
        sink = SmtpSink(
            host="127.0.0.1", port=server.port, security="none", sender="c360@example.org",
            to=["ops@example.org", "b@example.org"],
        )  # fmt: skip
        sink.send(NOTICE)
        (envelope,) = server.handler.got
        assert envelope.rcpt_tos == ["ops@example.org", "b@example.org"]
        assert b"Subject: [shop] late: source erp" in envelope.content and b"3 hours & more" in envelope.content
        with pytest.raises(TransientError, match="does not take it: SMTPNotSupportedError"):
            sink.model_copy(update={"security": "starttls"}).send(NOTICE)
        assert len(server.handler.got) == 1, "what is to be sent over TLS is not sent in plain"
    with pytest.raises(TransientError, match="does not take it: ConnectionRefusedError"):
        sink.send(NOTICE)


def test_a_password_goes_over_tls_to_who_has_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", pair[0], "-out", pair[1]], capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    seen: list[tuple[bytes, bytes]] = []

    def known(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        seen.append((data.login, data.password))
        return AuthResult(success=data.password == b"pass word", handled=False)

    with mail_server(tls_context=context, authenticator=known, auth_required=True) as server:
        monkeypatch.setenv("MAIL_PASSWORD", "pass word")
        sink = SmtpSink(
            host="127.0.0.1", port=server.port, user="c360", password_env="MAIL_PASSWORD", ca_file=pair[1],
            sender="c360@example.org", to=["ops@example.org"],
        )  # fmt: skip
        sink.send(NOTICE)
        assert seen == [(b"c360", b"pass word")] and len(server.handler.got) == 1
        monkeypatch.setenv("MAIL_PASSWORD", "wrong one")
        with pytest.raises(TransientError, match="SMTPAuthenticationError 535") as fault:
            sink.send(NOTICE)
        assert "wrong one" not in str(fault.value)
        with pytest.raises(TransientError, match="SSLCertVerificationError"):
            sink.model_copy(update={"ca_file": ""}).send(NOTICE)


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ({"kind": "slack"}, "needs url_env or url_file"),
        ({"kind": "slack", "url": "https://hooks.example.org/T0/hidden"}, "a secret does not stand in settings"),
        ({"kind": "webhook", "url": "ftp://x"}, "url"),
        ({"kind": "webhook", "url": "https://x/y", "secret": "hidden"}, "a secret does not stand in settings"),
        ({"kind": "smtp", "host": "h", "sender": "a@b", "to": []}, "to"),
        ({"kind": "smtp", "host": "h", "sender": "a@b", "to": ["c@d"], "user": "u"}, "password_env"),
        ({"kind": "smtp", "host": "h", "sender": "a@b", "to": ["c@d"], "user": "u", "password_env": "P",
          "security": "none"}, "in plain"),
        ({"kind": "pager"}, "pager"),
    ],
)  # fmt: skip
def test_what_is_no_sink_is_said_without_its_secrets(tmp_path: Path, sink: dict[str, Any], said: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"alerts": {"sinks": {"ops": sink}}}))
    with pytest.raises((ConfigError, ValidationError)) as fault:
        load(file, {})
    assert said in str(fault.value) and "hidden" not in str(fault.value)
