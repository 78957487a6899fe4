"""Other processes, as the tests need them: python -m tests.auth.actors WHAT PATH [ISSUER_URL]. They import `auth` and no test.

PATH may be redis:NAME[:LEASE], an account in the Redis of the environment, with a lease of so many seconds.

get        print the bearer, or what came of it
hold       take the CLI's locks as the CLI does, say so, keep them until stdin ends
churn      for each line on stdin, a number of seconds: fork a process that refreshes as fast as it can, kill it after that
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from auth.account_in_redis import LEASE, AccountInRedis
from auth.errors import AuthError
from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.shared import Shared
from auth.source import TokenSource
from auth.store import AccountFile, AccountStore


def token_source(path: str, issuer_url: str) -> TokenSource:
    return TokenSource(account_at(path), Issuer(issuer_url, Outbound(), "codex_mitm/test"), min_interval=0)


def account_at(path: str) -> AccountStore:
    if not path.startswith("redis:"):
        return AccountFile(Path(path))
    shared = Shared.from_env(os.environ)
    assert shared
    name, _, lease = path.removeprefix("redis:").partition(":")
    return AccountInRedis(shared, name, lease=float(lease or LEASE))


async def get(source: TokenSource) -> None:
    try:
        print((await source.get()).bearer)
    except AuthError as error:
        print(f"{type(error).__name__}: {error}")
    if source.status().memory.unsaved_why:
        print("not saved")


async def refresh_for_ever(source: TokenSource) -> None:
    credential = await source.get()
    while True:
        credential = await source.renew(credential)


def hold(path: str) -> None:
    import fcntl

    folder = Path(path).parent
    locks = [
        os.open(folder / name, os.O_RDWR | os.O_CREAT, mode) for name, mode in (("auth.lock", 0o644), ("auth.json.lock", 0o600))
    ]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()


def churn(path: str, issuer_url: str) -> None:
    # Before forking: the imports and the certificates that a first request needs take longer than a round.
    asyncio.run(token_source(path, issuer_url).get())
    source = token_source(path, issuer_url)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(refresh_for_ever(source))
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("killed", flush=True)


def main(what: str, *args: str) -> None:
    match what:
        case "get":
            asyncio.run(get(token_source(*args)))
        case "hold":
            hold(*args)
        case "churn":
            churn(*args)


if __name__ == "__main__":
    main(*sys.argv[1:])
