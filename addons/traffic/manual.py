"""What `--help` says, with the program's name as most users type it; `make_parser` puts in the one that was typed."""

HELP = """\
What went through the proxy: the calls, what they cost, what upstream said.

Usage:
    codex-traffic [--db FILE] COMMAND

    tail     the calls, one line each, as they come
    explain  what happened to a call, and why
    show     what the client sent, and what was sent to upstream
    usage    calls and tokens by day, model, client or account
    export   calls as a HAR file, JSON lines or curl commands
    replay   ask again what was asked, or answer again what was answered
    drift    what upstream says now and did not say before
    prune    remove old calls now
    verify   search the database for secrets

`--help` after a command tells more about it. A call is named by its id (the
x-request-id of its answer), by the beginning of one, or as `last`. The proxy
need not run, and may.

The database is ~/.codex-mitm/traffic.db, or below $CODEX_MITM_HOME. It holds no
key, token or cookie: what looks like one was taken out before it was written.

Example:
    $ codex-traffic tail
    $ codex-traffic explain last
"""

TAIL = """\
Show the calls as they end, one line each, and why those failed that did.

Usage:
    codex-traffic tail [-n N] [--no-follow]

    -n N         begin with the last N calls (default: 10)
    --no-follow  end after them

The columns: when it began, its id, the client, the model, the status that the
client saw, tokens in and out, seconds to the first token and to the end, how
many things were changed in the request, the account. Beside a status, ! is a
failure. Instead of one: cut, an answer that upstream broke off; left, the
client hung up; part, an answer that ended at a limit.

Example:
    $ codex-traffic tail -n 50 --no-follow
"""

EXPLAIN = """\
Tell the story of a call: who asked for what, which account served it and why
that one, what was changed and why, how long it took, what it cost, where it
went wrong and what to do.

Usage:
    codex-traffic explain ID

Example:
    $ codex-traffic explain last
"""

SHOW = """\
Show what the client sent and what was sent to upstream for it.

Usage:
    codex-traffic show ID [--diff | --events]

Needs recorded bodies: start the proxy with --set codex_traffic_bodies=true.

    --diff    the difference between the two, as JSON with its names in order
    --events  what upstream answered, event by event, with the time of each

Example:
    $ codex-traffic show last --diff
"""

USAGE = """\
Show how many calls were made and how many tokens they took.

Usage:
    codex-traffic usage [--by day|model|client|account] [--days N]
                        [--json | --csv]

    --by WHAT  one row for each day (default), model, client or account
    --days N   today and the days before it, so many in all (default: 7)
    --json     for programs, with whole numbers
    --csv      for spreadsheets

`cached` is the part of the tokens in that came from upstream's cache. Below the
table stands how much of its plan each account lost. Other programs on the same
plan are in that figure too: upstream tells the sum.

Example:
    $ codex-traffic usage --by client --days 1
"""

EXPORT = """\
Write calls in a form that other programs read.

Usage:
    codex-traffic export ID... (--har | --jsonl | --curl) [-o FILE]

    --har    an HTTP Archive, for browsers and proxies
    --jsonl  everything that is recorded, one object in a line
    --curl   commands that ask again, with a key that is none
    -o FILE  into a file that only you can read, instead of to stdout

Example:
    $ codex-traffic export last --har -o call.har
"""

REPLAY = """\
Send a recorded request again and print the answer; or, offline, give a recorded
answer again to a client that you want to watch.

Usage:
    codex-traffic replay ID [--model M] [--account A] [--to URL]
    codex-traffic replay ID --offline [--speed X]

Needs recorded bodies: start the proxy with --set codex_traffic_bodies=true.

    --model M    ask for another model
    --account A  with this account of the proxy's
    --to URL     where the proxy is (default: http://127.0.0.1:9090)
    --offline    print a base URL on this machine, answer one POST there with
                 the recorded answer, at the pace of then, and end
    --speed X    so many times as fast; 0 for at once (default: 1)

Example:
    $ codex-traffic replay last --offline
"""

DRIFT = """\
Show which event types, fields, error codes and headers upstream uses now that
it did not use before, with the first call that had them.

Usage:
    codex-traffic drift [--days N] [--all]

    --days N  what came up in the last N days (default: 7)
    --all     everything that was ever seen, also on the first day

Example:
    $ codex-traffic drift
"""

PRUNE = """\
Remove old calls now, and make the file smaller. The proxy does it by itself:
it keeps 7 days and 1 GiB. The sums that `usage` shows stay.

Usage:
    codex-traffic prune [--days N] [--bytes N]

    --days N   keep so many days (default: 7)
    --bytes N  keep so much; 500M and 2G are understood (default: 1G)

Example:
    $ codex-traffic prune --days 1
"""

VERIFY = """\
Search everything that is recorded for what looks like a secret, and check that
the file is whole. The exit code is 1 if there is something, which is not
repeated; its place is.

Usage:
    codex-traffic verify [--policy FILE]

    --policy FILE  search for its `redact_patterns`, too: they hold for what was
                   recorded after them (default: mitm_config/policy.yaml)

Example:
    $ codex-traffic verify && cp ~/.codex-mitm/traffic.db report.db
"""
