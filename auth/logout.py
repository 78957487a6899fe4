"""Signing out: the sign-in is ended at the issuer if it was made here, then its files are deleted.

In this order and under the account's lock: no proxy refreshes in between, and a sign-out that was interrupted can be repeated.
"""

import os
from collections.abc import Mapping

from auth.errors import AuthError
from auth.issuer import Issuer
from auth.source import LOCK_TIMEOUT
from auth.store import AUTH_JSON, CODEX_CLI, AccountFile, find_accounts, own_folder


def account_of_ours(name: str, env: Mapping[str, str]) -> AccountFile:
    """Raises AuthError for an account that is not there, or is the Codex CLI's."""
    path = own_folder(env) / "accounts" / name / AUTH_JSON
    if os.path.lexists(path):
        return AccountFile(path)
    if name == CODEX_CLI or any(account.name == CODEX_CLI for account in find_accounts([], env)):
        raise AuthError("the sign-in in use is the Codex CLI's, which is left alone", "run `codex logout` to end it")
    raise AuthError(f"there is no account {name} of ours", "`python -m auth status` lists those that are there")


async def sign_out(account: AccountFile, issuer: Issuer | None) -> bool | None:
    """Whether the issuer has ended the sign-in; None if it was not asked, because `issuer` is None or it is not ours to end."""
    async with account.locked(LOCK_TIMEOUT):
        revoked = await _revoke(account, issuer) if issuer else None
        await account.erase()
    return revoked


async def _revoke(account: AccountFile, issuer: Issuer) -> bool | None:
    if not (await account.recall()).signed_in_here:
        return None
    try:
        document = await account.read()
    except AuthError:
        return False  # corrupt: there is nothing to end it with
    return await issuer.revoke(document.refresh_token) if document.refresh_token else None
