"""Signing out: the sign-in is ended at the issuer if it was made here, then it is deleted here.

In this order and under the account's lock: no proxy refreshes in between, and a sign-out that was interrupted can be repeated.
"""

from auth.errors import AuthError
from auth.issuer import Issuer
from auth.source import LOCK_TIMEOUT
from auth.store import AccountStore


async def sign_out(account: AccountStore, issuer: Issuer | None) -> bool | None:
    """Whether the issuer has ended the sign-in; None if it was not asked, because `issuer` is None or it is not ours to end."""
    async with account.locked(LOCK_TIMEOUT):
        revoked = await _revoke(account, issuer) if issuer else None
        await account.erase()
    return revoked


async def _revoke(account: AccountStore, issuer: Issuer) -> bool | None:
    if not (await account.recall()).signed_in_here:
        return None
    try:
        document = await account.read()
    except AuthError:
        return False  # corrupt: there is nothing to end it with
    return await issuer.revoke(document.refresh_token) if document.refresh_token else None
