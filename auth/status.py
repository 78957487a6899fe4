"""Who is signed in, for how long, what is left of the plan, and what is wrong: as it is kept, without asking the issuer.

`examine` looks, a `Report` is what was found and holds no secret, `as_text` and `as_json` word it.
"""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from auth import voice
from auth.authjson import API_KEY, AuthDocument
from auth.credential import hold
from auth.errors import SIGN_IN, AccountFileError, AuthError
from auth.plans import Plan, Window
from auth.sidecar import Memory
from auth.store import CODEX_CLI, DEFAULT, AccountStore
from auth.tokens import Validity

WIDTH = 80
INDENT = 13


@dataclass(frozen=True, slots=True)
class Report:
    """One account. `problem` is why it cannot be used, now or once its token has expired. Times are epoch seconds."""

    name: str
    file: str
    usable: bool
    problem: str = ""
    remedy: str = ""
    dead: bool = False
    kind: str | None = None
    email: str | None = None
    plan: str | None = None
    account_id_end: str | None = None  # the whole of it identifies the user to strangers
    validity: Validity = Validity()
    last_refresh: float | None = None
    not_writable: str | None = None
    memory: Memory = Memory()
    limits: Plan | None = None

    @property
    def is_shared(self) -> bool:
        return self.name == CODEX_CLI


async def examine(account: AccountStore, now: float, limits: Plan | None = None) -> Report:
    """`limits` is what a proxy heard of the account's plan."""
    try:
        document = await account.read()
    except AuthError as error:
        problem = error.why if isinstance(error, AccountFileError) else error.what
        return Report(account.name, account.where, False, problem, error.remedy or _mend(account.name))
    report = _judge(account, document, await account.recall(), await account.probe_writable(), now)
    return report if report.kind == API_KEY else replace(report, limits=limits)


def _judge(account: AccountStore, document: AuthDocument, memory: Memory, not_writable: str | None, now: float) -> Report:
    is_key = document.kind == API_KEY
    validity = hold(account.name, document, None).validity
    dead = not is_key and document.refresh_token is not None and memory.is_dead(document.refresh_token)
    problem = "" if is_key else _problem(document, memory, dead)
    return Report(
        name=account.name,
        file=account.where,
        usable=not problem or not validity.is_over(now),
        problem=problem,
        remedy=_mend(account.name) if problem else "",
        dead=dead,
        kind=document.kind,
        email=None if is_key else document.claims.email,
        plan=None if is_key else document.access_claims.plan or document.claims.plan,
        account_id_end=None if is_key or not document.account_id else document.account_id[-4:],
        validity=validity,
        last_refresh=None if is_key else document.last_refresh,
        not_writable=not_writable,
        memory=memory,
    )


def _problem(document: AuthDocument, memory: Memory, dead: bool) -> str:
    if dead:
        return f"signed out ({memory.dead_reason})"
    return "" if document.refresh_token else "its file holds no refresh token"


def _mend(name: str) -> str:
    """A sign-in of our own also takes the place of the CLI's."""
    return SIGN_IN if name in (DEFAULT, CODEX_CLI) else f"run `python -m auth login --account {name}`"


# -- for people


def as_text(reports: Sequence[Report], now: float) -> str:
    return "\n".join(line for report in reports for line in (report.name, *_rows(report, now)))


def _rows(report: Report, now: float) -> list[str]:
    memory = report.memory
    rows = {
        "account": _account(report),
        "token": _token(report, now),
        **_limits(report.limits, now),
        "file": voice.short(report.file),
        "shared": "with the Codex CLI: of two programs that refresh it, one is signed out" if report.is_shared else "",
        "problem": _dated(report.problem, memory.dead_since if report.dead else 0.0, now),
        "not saved": _unsaved(memory, now),
        "read-only": f"{report.not_writable}, a refreshed token could not be kept" if report.not_writable else "",
        "last error": _dated(memory.last_error, memory.last_error_at, now),
        "do this": report.remedy,
    }
    return [_row(label, text) for label, text in rows.items() if text]


def _row(label: str, text: str) -> str:
    """Paths and commands are not broken, however long."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label}".ljust(INDENT),
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _account(report: Report) -> str:
    if report.kind is None:
        return ""
    if report.kind == API_KEY:
        return "Platform API key"
    end = f", id ...{report.account_id_end}" if report.account_id_end else ""
    return voice.person(report.email, report.plan) + end


def _token(report: Report, now: float) -> str:
    if report.kind in (None, API_KEY):
        return ""
    text = voice.expiry(report.validity.ends_at - now)
    if report.validity.is_over(now) and not report.problem:
        text += " and is refreshed at the next request"
    return f"{text}, refreshed {voice.moment(report.last_refresh - now)}" if report.last_refresh else text


def _limits(plan: Plan | None, now: float) -> dict[str, str]:
    if plan is None:
        return {}
    heard = f"as of {voice.span(now - plan.heard_at)} ago"
    rows = {window.name: f"{_left(window, now)}, {heard}" for window in plan.windows}
    return rows | ({"credits": plan.credits} if plan.credits else {})


def _left(window: Window, now: float) -> str:
    """Once it has ended nobody knows the next one: it begins when the account is used again."""
    left = f"{window.left(now):.0f} % left"
    return f"{left}, begins anew {voice.moment(window.ends_at - now)}" if window.ends_at > now else left


def _unsaved(memory: Memory, now: float) -> str:
    if not memory.unsaved_why:
        return ""
    why = _dated(memory.unsaved_why, memory.unsaved_since, now)
    return f"{why}: the token is only in the memory of the running proxy, do not stop that before this is mended"


def _dated(text: str, moment: float, now: float) -> str:
    return f"{text}, {voice.moment(moment - now)}" if text and moment else text


# -- for programs


def as_json(reports: Sequence[Report], now: float) -> str:
    """Members are added in later versions, none is removed or renamed. What is not known is null."""
    return json.dumps({"accounts": [_object(report, now) for report in reports]}, indent=2)


def _object(report: Report, now: float) -> dict[str, object]:
    memory = report.memory
    return {
        "name": report.name,
        "file": report.file,
        "shared_with_codex_cli": report.is_shared,
        "usable": report.usable,
        "problem": report.problem or None,
        "remedy": report.remedy or None,
        "kind": report.kind,
        "email": report.email,
        "plan": report.plan,
        "account_id_end": report.account_id_end,
        "expires": _moment(report.validity.ends_at, now),
        "last_refresh": _moment(report.last_refresh, now),
        "signed_out": {"reason": memory.dead_reason, "since": _moment(memory.dead_since, now)} if report.dead else None,
        "unsaved": {"why": memory.unsaved_why, "since": _moment(memory.unsaved_since, now)} if memory.unsaved_why else None,
        "last_error": {"why": memory.last_error, "when": _moment(memory.last_error_at, now)} if memory.last_error else None,
        "writable": None if report.kind is None else report.not_writable is None,
        "not_writable": report.not_writable,
        "limits": _limits_object(report.limits, now),
    }


def _limits_object(plan: Plan | None, now: float) -> dict[str, object] | None:
    if plan is None:
        return None
    windows = [
        {
            "name": window.name,
            "left_percent": window.left(now),
            "resets": _moment(window.ends_at, now) if window.ends_at > now else None,
        }
        for window in plan.windows
    ]
    return {"windows": windows, "credits": plan.credits or None, "heard": _moment(plan.heard_at, now)}


def _moment(when: float | None, now: float) -> dict[str, object] | None:
    """RFC 3339, and the distance in seconds: negative is past."""
    if not when:
        return None
    try:
        at = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None  # infinity, for a token without an end; or a year that no calendar has
    return {"at": at, "in_seconds": round(when - now)}
