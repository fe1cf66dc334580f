"""Where alerts go: the log, a webhook, Slack, e-mail. Named under ``alerts: sinks:`` of the settings.

A sink is a value without secrets, which it reads where the settings say at the moment when it sends. A notice holds
names, counts and moments, never data of people.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from customer360.platform.connections import Connection
from customer360.platform.errors import ConfigError, TransientError

if TYPE_CHECKING:  # each is loaded where something is sent: most commands send nothing
    import smtplib

State = Literal["open", "resolved", "test"]


@dataclass(frozen=True)
class Notice:
    """One message. ``id`` is the same however often it is sent; ``at`` and ``since`` are ISO 8601, UTC."""

    id: str
    state: State
    kind: str
    subject: str  # what it is about: a source, the run, a schedule
    text: str
    since: str
    at: str
    installation: str  # ``name`` of the settings

    @property
    def line(self) -> str:
        told = {"open": self.kind, "resolved": f"resolved: {self.kind}", "test": "test"}[self.state]
        return f"[{self.installation}] {told}: {self.subject}"


class Sink(Connection, ABC):
    """A place that alerts are sent to, all kinds of them unless ``kinds`` names some."""

    kinds: list[str] = []
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Raises TransientError, or ConfigError where a secret is not where the settings say, in words without any."""

    def takes(self, notice: Notice) -> bool:
        return notice.state == "test" or not self.kinds or notice.kind in self.kinds


class LogSink(Sink):
    """The log of whoever looks: a line of level error, or info where it is resolved."""

    kind: Literal["log"] = "log"

    def send(self, notice: Notice) -> None:
        level = logging.ERROR if notice.state == "open" else logging.INFO
        facts = {"event": "alert", **asdict(notice)}
        logging.getLogger("customer360").log(level, f"{notice.line}: {notice.text}", extra={"facts": facts})


class _HttpSink(Sink):
    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Raises TransientError where the answer is none, or not 2xx. Redirections are not followed."""
        import httpx2

        try:
            sent = {"Content-Type": "application/json", **headers}
            answer = httpx2.post(url, content=body, headers=sent, timeout=self.timeout_seconds, follow_redirects=False)
        except (httpx2.HTTPError, httpx2.InvalidURL) as fault:
            raise TransientError(self.without_secrets(f"it does not answer: {type(fault).__name__}")) from None
        if not answer.is_success:
            raise TransientError(f"it answers {answer.status_code}")


class WebhookSink(_HttpSink):
    """An HTTP endpoint that takes the notice as a JSON object. With a secret it is signed as Standard Webhooks says
    (``webhook-id``, ``webhook-timestamp``, ``webhook-signature``); a receiver knows by the id what came twice.
    """

    secrets: ClassVar[tuple[str, ...]] = ("secret",)

    kind: Literal["webhook"] = "webhook"
    url: str = Field(pattern=r"^https?://[^/\s@]+(/\S*)?$")
    secret_env: str = ""
    secret_file: str = ""

    def send(self, notice: Notice) -> None:
        body = json.dumps(asdict(notice), ensure_ascii=False).encode()
        self._post(self.url, body, self._signature(notice.id, body))

    def _signature(self, message: str, body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        headers = {"webhook-id": message, "webhook-timestamp": at}
        if secret := self.secret("secret"):
            key = _key(secret)
            made = hmac.new(key, f"{message}.{at}.".encode() + body, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(made).decode()}"
        return headers


def _key(secret: str) -> bytes:
    """Of a secret as Standard Webhooks writes it (``whsec_`` and base64) its bytes; of another its text."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            raise ConfigError("the secret of a webhook is no base64 after whsec_") from None
    return secret.encode()


class SlackSink(_HttpSink):
    """An incoming webhook of Slack, or of what takes the same JSON (Mattermost, Rocket.Chat). Its URL is a secret."""

    secrets: ClassVar[tuple[str, ...]] = ("url",)

    kind: Literal["slack"] = "slack"
    url_env: str = ""
    url_file: str = ""

    @model_validator(mode="after")
    def _has_a_url(self) -> Self:
        if not (self.url_env or self.url_file):
            raise ValueError("slack needs url_env or url_file: who knows the URL may post")
        return self

    def send(self, notice: Notice) -> None:
        mark = {"open": ":red_circle:", "resolved": ":large_green_circle:", "test": ":large_blue_circle:"}
        text = f"{mark[notice.state]} *{_plain(notice.line)}*\n{_plain(notice.text)}"
        self._post(self.secret("url") or "", json.dumps({"text": text}, ensure_ascii=False).encode(), {})


def _plain(text: str) -> str:
    """Text in which Slack finds no link, and nobody who is called."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SmtpSink(Sink):
    """E-mail by a server that takes it."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    kind: Literal["smtp"] = "smtp"
    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str = ""
    user: str = ""
    password_env: str = ""
    password_file: str = ""
    sender: str = Field(min_length=3, pattern=r"^[^\s@]+@[^\s@]+$")
    to: list[Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")]] = Field(min_length=1)

    @model_validator(mode="after")
    def _keeps_its_password(self) -> Self:
        if self.user and self.security == "none":
            raise ValueError("security: none would send the password in plain; take starttls or tls")
        if self.user and not (self.password_env or self.password_file):
            raise ValueError("user: needs password_env or password_file")
        return self

    def send(self, notice: Notice) -> None:
        import smtplib

        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = notice.line, self.sender, ", ".join(self.to)
        message["Message-ID"] = f"<{notice.id}@{self.sender.partition('@')[2]}>"
        message.set_content(f"{notice.text}\n\nsince {notice.since}, told {notice.at}\n")
        try:
            with self._server() as server:
                if self.user:
                    server.login(self.user, self.secret("password") or "")
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as fault:
            raise TransientError(self.without_secrets(f"{self.host} does not take it: {_told(fault)}")) from None

    def _server(self) -> smtplib.SMTP:
        import smtplib
        import ssl

        trust = ssl.create_default_context(cafile=self.ca_file or None)
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_seconds, context=trust)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)
        if self.security == "starttls":
            try:
                server.starttls(context=trust)
            except BaseException:
                server.close()
                raise
        return server


def _told(fault: Exception) -> str:
    """The kind of a fault and the code of the server; what it says may repeat addresses."""
    code = getattr(fault, "smtp_code", "")
    return f"{type(fault).__name__} {code}".strip()


AnySink = Annotated[LogSink | WebhookSink | SlackSink | SmtpSink, Field(discriminator="kind")]


class AlertSettings(BaseModel):
    """What an alert is opened for, and where it goes. Sources are late by their own ``late_after_minutes``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sinks: dict[str, AnySink] = {}  # by name; none: alerts are listed and sent nowhere
    failed_runs: int = Field(default=1, ge=1)  # in a row, after which a source has failed
    run_late_minutes: float | None = Field(default=None, gt=0)  # without a run that ended well; None: never
    run_stuck_minutes: float = Field(default=240.0, gt=0)  # that one run may take
    schedule_late_minutes: float = Field(default=30.0, gt=0)  # after a moment, by which a schedule has not begun
    dead_letters: int = Field(default=100, ge=1)  # of one source within 24 hours
    give_up_hours: float = Field(default=24.0, gt=0)  # for which a message that no sink takes is tried again
