"""What a document is good for: the credential it yields, for how long, and whether that is enough for a caller."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from auth.authjson import API_KEY, AuthDocument
from auth.grants import TokenGrant
from auth.tokens import Validity, validity


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes on a request. Its repr can be logged."""

    kind: str
    account: str
    bearer: str = field(repr=False)
    account_id: str | None = field(default=None, repr=False)
    fedramp: bool = False
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A document in force, and the stamp that its file had when the two were compared last."""

    document: AuthDocument
    stamp: Hashable
    credential: Credential
    validity: Validity
    # Set while the document is in memory only: the refresh token that is still in the file, and is spent.
    spent: str | None = field(default=None, repr=False)

    def was_refreshed_within(self, seconds: float, now: float) -> bool:
        refreshed = self.document.last_refresh if self.document.kind != API_KEY else None
        return refreshed is not None and 0 <= now - refreshed < seconds

    def on_top_of(self, document: AuthDocument) -> AuthDocument:
        """The tokens that only memory has, in a document that is otherwise what the file says now."""
        own = self.document
        tokens = TokenGrant(own.id_token, own.access_token, own.refresh_token)
        return document.refreshed(tokens, own.last_refresh or 0.0)


@dataclass(frozen=True, slots=True)
class Need:
    """What a caller cannot live with: a stale token; one that is stale soon; one that was rejected."""

    ahead: bool = False
    rejected: str | None = field(default=None, repr=False)

    @property
    def reason(self) -> str:
        """The CLI's `refresh_reason`."""
        return "unauthorized_recovery" if self.rejected else "proactive_expiry"

    def is_met_by(self, held: Held, now: float) -> bool:
        due = held.validity.ahead_at if self.ahead else held.validity.stale_at
        return held.credential.bearer != self.rejected and now < due

    def can_do_with(self, held: Held, now: float) -> bool:
        """In times of trouble: a token that is late, and works."""
        return held.credential.bearer != self.rejected and not held.validity.is_over(now)


def hold(account: str, document: AuthDocument, stamp: Hashable, spent: str | None = None) -> Held:
    is_key = document.kind == API_KEY
    access_claims = document.access_claims
    credential = Credential(
        kind=document.kind,
        account=account,
        bearer=document.bearer,
        account_id=None if is_key else document.account_id,
        fedramp=not is_key and (document.claims.fedramp or access_claims.fedramp),
        api_key=document.api_key,
    )
    times = Validity() if is_key else validity(access_claims, document.last_refresh)
    return Held(document, stamp, credential, times, spent)
