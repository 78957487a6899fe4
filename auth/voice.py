"""How the command line speaks, and nearly all that it says: errors bring their own words, `status` lays out its own report.

No other module prints. stdout carries what somebody may copy or pipe: an address, a code, the status. All else is talk and goes
to stderr. An error is one line after `codex-mitm: `, and a hint line says what to do about it. No capital, no full stop, and
80 columns where the words are ours.

Values may come from a token or over the network: what cannot be printed, such as an escape sequence, becomes a blank here.
"""

import math
import os
import sys
from pathlib import Path
from typing import TextIO

from auth.authjson import API_KEY, AuthDocument
from auth.errors import AuthError

HELP = """\
Sign in with a ChatGPT plan, and look after what that leaves on this machine.

Usage:
    python -m auth login   [--account NAME] [--no-browser]
                           [--device | --import FILE | --api-key-stdin]
    python -m auth status  [--account NAME] [--accounts PATH...] [--json]
    python -m auth refresh [--account NAME]
    python -m auth logout  [--account NAME] [--keep-remote]
    python -m auth key add LABEL [--policy FILE]
    python -m auth migrate (--to-redis | --to-files) [--account NAME...]
    python -m auth migrate --new-key FILE

login opens the browser; status shows who is signed in, for how long, and what
is left of the plan; refresh gets a new token now; logout forgets an account;
key makes a key with which one of your programs gets into the proxy; migrate
moves accounts into the Redis that several proxies share, and out of it.
`--help` after a command tells more about it.

Accounts are kept in ~/.codex-mitm/accounts, one folder each, or below
$CODEX_MITM_HOME. If there are none, the proxy uses the Codex CLI's sign-in in
~/.codex as it is. Whoever can read an auth.json can use the plan. With
CODEX_MITM_REDIS_URL set they are in Redis instead, see `migrate --help`.

Example:
    $ python -m auth login
    $ python -m auth status
    default
      account    ada@example.com, ChatGPT plus, id ...7c1e
      token      expires in 9 days, refreshed 20 min ago
      5h         88 % left, begins anew in 2 h, as of 4 min ago
      weekly     97 % left, begins anew in 5 days, as of 4 min ago
      file       ~/.codex-mitm/accounts/default/auth.json
    $ make run
"""

LOGIN_HELP = """\
Sign in, and keep the account for the proxy. A running proxy notices.

Usage:
    python -m auth login [--account NAME] [--no-browser]
                         [--device | --import FILE | --api-key-stdin]

Without options a browser opens on OpenAI's page and comes back to port 1455
or 1457 of this machine. On a machine without a browser, open the printed
address elsewhere and paste the address on which that browser ends up.

    --account NAME   keep it under this name (default: default)
    --no-browser     print the address, open nothing
    --device         enter a code on a page on any other device instead
    --import FILE    copy a Codex CLI auth.json, - for stdin; its refresh token
                     works once, so the original must not be used any more
    --api-key-stdin  read a Platform API key, one line, instead of a plan
    --issuer URL     another sign-in service (default: https://auth.openai.com)

Example:
    $ python -m auth login --device --account work
"""

STATUS_HELP = """\
Show the accounts that the proxy would use. Reads files, contacts nobody.

Usage:
    python -m auth status [--account NAME] [--accounts PATH...] [--json]

The exit code is 0 if at least one of them can be used, else 1.

    --account NAME      this one only
    --accounts PATH...  look at these files and folders instead, as the proxy
                        does with its option codex_accounts
    --json              an object for programs, without a secret in it

Example:
    $ python -m auth status --json | jq -r '.accounts[].expires.at'
"""

REFRESH_HELP = """\
Get a new access token now, whether or not the present one is about to expire.

Usage:
    python -m auth refresh [--account NAME]

Never needed for a proxy that runs: it refreshes by itself.

    --account NAME  this one (default: the first that `status` shows)
    --issuer URL    where it was signed in (default: https://auth.openai.com)

Example:
    $ python -m auth refresh --account work
"""

LOGOUT_HELP = """\
Sign an account of ours out, and delete its files.

Usage:
    python -m auth logout [--account NAME] [--keep-remote]

A sign-in made by `login` is also ended at OpenAI. Users report that OpenAI then
ends all Codex sign-ins of that user, on other machines too; --keep-remote
leaves them alone. An imported sign-in is never ended, others may be using it.
The Codex CLI's own file is never touched: that is for `codex logout`.

    --account NAME  this one (default: default)
    --keep-remote   delete the files here and do not tell OpenAI
    --issuer URL    where it was signed in (default: https://auth.openai.com)

Example:
    $ python -m auth logout --account work --keep-remote
"""


KEY_HELP = """\
Make a key with which a program gets into the proxy.

Usage:
    python -m auth key add LABEL [--policy FILE]

The key is shown once and kept nowhere: a policy has its hash only. As soon as
there is one in the proxy's policy, nobody gets in without. To take a key back,
delete its entry; a running proxy notices.

    LABEL          what it is called in the log and in the record
    --policy FILE  add its entry to this file; without it, the entry is shown

Example:
    $ python -m auth key add laptop --policy mitm_config/policy.yaml
"""


MIGRATE_HELP = """\
Move accounts between this machine and the Redis that several proxies share.

Usage:
    python -m auth migrate (--to-redis | --to-files) [--account NAME...]
    python -m auth migrate --new-key FILE

Redis is the one of CODEX_MITM_REDIS_URL, and what is put there is sealed with
the key in CODEX_MITM_REDIS_KEY_FILE. While the first is set, the proxy and all
of these commands use the accounts there, and none on this machine.

An account is moved, never copied, because a refresh token works once. If it is
interrupted, the same command again ends what was begun. The Codex CLI's own
file is not moved: `login` gives the proxy a sign-in of its own.

    --to-redis         from ~/.codex-mitm/accounts into Redis
    --to-files         from Redis into ~/.codex-mitm/accounts
    --account NAME...  these only (default: all)
    --new-key FILE     make a key, and nothing else

Example:
    $ python -m auth migrate --new-key ~/.codex-mitm/redis.key
    $ export CODEX_MITM_REDIS_URL=redis://localhost:6379/0
    $ export CODEX_MITM_REDIS_KEY_FILE=~/.codex-mitm/redis.key
    $ python -m auth migrate --to-redis
"""


def show(text: str) -> None:
    """To stdout: what the user, or a pipe, asked for."""
    _print(text, sys.stdout)


def say(text: str) -> None:
    _print(text, sys.stderr)


def warn(text: str) -> None:
    say(f"codex-mitm: warning: {text}")


def fail(what: str, hint: str = "") -> None:
    say(f"codex-mitm: {what}")
    if hint:
        say(f"codex-mitm: hint: {hint}")


def fail_with(error: AuthError) -> None:
    fail(error.what, error.remedy)


def cancelled() -> None:
    if sys.stderr.isatty():
        say("")  # the terminal has written ^C
    fail("cancelled")


# -- sign-in


def open_this(url: str, port: int, *, opened: bool, pasting: bool) -> None:
    say(
        "sign in with your ChatGPT account; a browser opens on this page:"
        if opened
        else "open this page in a browser and sign in with your ChatGPT account:"
    )
    show(url)
    say(f"waiting for the browser to come back to port {port} of this machine")
    if pasting:
        say("if it runs on another machine it ends on a page that cannot be loaded:")
        say("copy the address of that page and paste it here")


def enter_this(verification_url: str, user_code: str, minutes: int) -> None:
    say("open this page on any device and sign in with your ChatGPT account:")
    show(verification_url)
    say(f"enter this code there, within {minutes} minutes, and only if you started this:")
    show(user_code)


def foreign_paste() -> None:
    say("that is not the address of this sign-in, its state is missing or different:")
    say("copy the whole address line after you have consented, and paste it again")


def useless_paste() -> None:
    say("there is neither a code nor an error in that address:")
    say("copy it when the browser has come to its last page")


def signed_in(document: AuthDocument, where: str) -> None:
    if document.kind == API_KEY:
        say("the API key is kept, in")
    else:
        say(f"signed in as {person(document.claims.email, document.access_claims.plan or document.claims.plan)}, kept in")
    say(f"    {short(where)}")


def imported(source: str) -> None:
    warn(f"a refresh token works once. If another program goes on using {source}, one of")
    say("the two will be signed out. `make login` gives the proxy a sign-in of its own")


# -- the other commands


def refreshed(account: str, expires: str) -> None:
    say(f"account {account} is refreshed, its token {expires}")


def unsaved(account: str, where: str) -> None:
    warn(f"account {account}: the new token could not be written to {where}")
    say("trying until it can; the old token is spent, so do not end this before")


def signed_out(account: str, *, revoked: bool | None) -> None:
    match revoked:
        case True:
            say(f"account {account} is signed out at OpenAI, and deleted here")
        case False:
            say(f"account {account} is deleted here; OpenAI did not confirm the sign-out,")
            say("end it at chatgpt.com, in the settings, under security")
        case None:
            say(f"account {account} is deleted here; its sign-in was not ended at OpenAI")


# -- accounts in Redis


def moved(account: str, where: str) -> None:
    say(f"account {account} is moved to")
    say(f"    {short(where)}")


def new_seal(file: Path) -> None:
    say(f"the key is in {short(file)}; every proxy that shares the accounts needs it,")
    say("and without it nobody can read what is in Redis:")
    show(f"export CODEX_MITM_REDIS_KEY_FILE={file.absolute()}")


# -- keys of the proxy's clients


def new_key(key: str) -> None:
    say("this is the key; it is not shown again:")
    show(key)


def paste_this(entry: str) -> None:
    say("and this belongs into the policy file (mitm_config/policy.yaml):")
    show(entry.rstrip())


def key_added(label: str, policy: Path) -> None:
    say(f"its entry is in {short(policy)}, as {label}")


# -- how values are worded


def person(email: str | None, plan: str | None) -> str:
    return f"{email or 'somebody without an e-mail address'}, {f'ChatGPT {plan}' if plan else 'ChatGPT'}"


def expiry(seconds: float) -> str:
    if math.isinf(seconds):
        return "has no expiry date"
    return f"expires {moment(seconds)}" if seconds > 0 else f"expired {moment(seconds)}"


def moment(seconds: float) -> str:
    """`in 9 days` for what is ahead, `3 min ago` for what is past."""
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """In the largest unit that there are two of."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def short(path: Path | str) -> str:
    """The home folder as ~, which is how the user will type it."""
    home = os.path.expanduser("~")
    text = str(path)
    return f"~{text[len(home) :]}" if home != "~" and text.startswith(home + os.sep) else text


def _print(text: str, stream: TextIO) -> None:
    printable = "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    encoding = stream.encoding or "utf-8"
    print(printable.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
