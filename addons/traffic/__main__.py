"""`codex-traffic`, the same as `python -m addons.traffic`: from the arguments to the exit code.

0 is success, 1 a reason that was told, 2 a wrong usage, 130 Ctrl-C. `tail` is started often and has to be there at once: what only
one command needs is imported by it.
"""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

from addons.traffic import manual
from addons.traffic.errors import BadDatabase, TrafficError
from addons.traffic.place import default_place
from addons.traffic.schema import open_to_read, open_to_write
from addons.traffic.text import Page, fail

type Arguments = argparse.Namespace

# Where the proxy has its rules, unless `codex_policy` says otherwise.
POLICY = Path(__file__).resolve().parents[2] / "mitm_config" / "policy.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        parsed = make_parser(as_typed(sys.argv[0], os.environ.get("PATH", ""))).parse_args(arguments)
        code: int = parsed.run(parsed, Page(sys.stdout))
        sys.stdout.flush()
        return code
    except TrafficError as error:
        fail(error.what, error.remedy)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except SystemExit:  # argparse has printed its help, which is still in the buffer
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()
        raise


def _close_stdout() -> None:
    """Its reader has left. Python flushes once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- the commands


def _tail(parsed: Arguments, page: Page) -> int:
    from addons.traffic.tail import tail

    tail(parsed.db, parsed.n, not parsed.no_follow, page)
    return 0


def _explain(parsed: Arguments, page: Page) -> int:
    from addons.traffic.explain import explain
    from addons.traffic.recorded import load

    with _reading(parsed) as db:
        explain(load(db, parsed.id, with_bodies=False), page)
    return 0


def _show(parsed: Arguments, page: Page) -> int:
    from addons.traffic import show
    from addons.traffic.recorded import load

    with _reading(parsed) as db:
        exchange = load(db, parsed.id)
    (show.show_diff if parsed.diff else show.show_events if parsed.events else show.show)(exchange, page)
    return 0


def _usage(parsed: Arguments, page: Page) -> int:
    from addons.traffic import usage

    with _reading(parsed) as db:
        if parsed.json:
            page.line(usage.as_json(db, parsed.by, parsed.days, time.time()))
        elif parsed.csv:
            usage.as_csv(db, parsed.by, parsed.days, time.time(), sys.stdout)
        else:
            usage.as_table(db, parsed.by, parsed.days, time.time(), page)
    return 0


def _export(parsed: Arguments, page: Page) -> int:
    from addons.traffic import export, har
    from addons.traffic.recorded import load

    with _reading(parsed) as db:
        exchanges = [load(db, wanted) for wanted in parsed.id]
    if parsed.har:
        text = har.as_har(exchanges)
    else:
        text = "\n".join((export.as_json_line if parsed.jsonl else export.as_curl)(exchange) for exchange in exchanges)
    if parsed.o is None:
        page.line(text)
        return 0
    try:
        # Not for others to read, whatever the umask says: it holds what was said to the model.
        with open(parsed.o, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(f"{text}\n")
    except OSError as e:
        raise TrafficError(f"{parsed.o} could not be written, {(e.strerror or str(e)).lower()}") from e
    return 0


def _replay(parsed: Arguments, page: Page) -> int:
    from addons.traffic import replay
    from addons.traffic.recorded import load

    with _reading(parsed) as db:
        exchange = load(db, parsed.id)
    if not parsed.offline:
        return 0 if replay.send_again(exchange, parsed.to, parsed.model, parsed.account, page) < 400 else 1

    def announce(url: str) -> None:
        page.line(url)
        page.flush()

    replay.answer_once(exchange, parsed.speed, announce)
    return 0


def _drift(parsed: Arguments, page: Page) -> int:
    from addons.traffic.drift import drift

    with _reading(parsed) as db:
        drift(db, parsed.days, parsed.all, time.time(), page)
    return 0


def _prune(parsed: Arguments, page: Page) -> int:
    from addons.traffic.retention import Limits
    from addons.traffic.trouble import reason
    from addons.traffic.upkeep import prune

    with _reading(parsed):
        pass  # a database is not made in order to prune it
    try:
        with closing(open_to_write(parsed.db)) as db:
            prune(db, Limits(parsed.days, parsed.bytes), time.time(), page)
    except (sqlite3.Error, OSError) as e:
        raise BadDatabase(str(parsed.db), reason(e, parsed.db.parent), "nothing is lost: try again when it can be written") from e
    return 0


def _verify(parsed: Arguments, page: Page) -> int:
    from addons.traffic.searching import PatternsFailed, Searching
    from addons.traffic.upkeep import verify

    patterns = _redact_patterns(parsed.policy)
    with _reading(parsed) as db, closing(Searching(patterns)) as search:
        try:
            return 0 if verify(db, page, search if patterns else None) else 1
        except PatternsFailed as e:
            raise TrafficError(str(e), "a pattern without repetitions within repetitions is faster") from e


def _redact_patterns(policy: Path | None) -> Sequence[str]:
    from addons.traffic.patterns import BadPattern, patterns_in

    found = policy or (POLICY if POLICY.exists() else None)
    try:
        return patterns_in(found.read_text(encoding="utf-8-sig")) if found else ()
    except (OSError, UnicodeDecodeError, BadPattern) as e:
        raise TrafficError(f"{found} cannot be used: {e}", "`--policy FILE` names another one") from e


@contextmanager
def _reading(parsed: Arguments) -> Iterator[sqlite3.Connection]:
    """What SQLite says of the database meanwhile is told as an error."""
    with closing(open_to_read(parsed.db)) as db:
        try:
            yield db
        except sqlite3.Error as e:
            raise BadDatabase(str(parsed.db), str(e)) from e


# -- the arguments

# As pyproject.toml installs it, and as `manual` calls it.
NAME = "codex-traffic"


def as_typed(program: str, search: str) -> str:
    """What stood before the arguments, from sys.argv[0] and PATH: so what the help says can be typed again."""
    place = Path(program)
    if place.name == "__main__.py":
        return "python -m addons.traffic"
    return place.name if place.parent in map(Path, search.split(os.pathsep)) else program


class _Parser(argparse.ArgumentParser):
    """argparse finds the words, `manual` has ours."""

    def format_help(self) -> str:
        return self.description or ""

    def error(self, message: str) -> NoReturn:
        fail(message, f"`{self.prog} --help` shows the usage")
        raise SystemExit(2)


def make_parser(program: str = NAME) -> argparse.ArgumentParser:
    parser = _Parser(prog=program, description=manual.HELP.replace(NAME, program), allow_abbrev=False)
    parser.add_argument("--db", type=Path, default=default_place(os.environ), metavar="FILE")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog=parser.prog)

    def command(name: str, run: Callable[[Arguments, Page], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, description=text.replace(NAME, program), allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    tail = command("tail", _tail, manual.TAIL)
    tail.add_argument("-n", type=_count, default=10, metavar="N")
    tail.add_argument("--no-follow", action="store_true")

    command("explain", _explain, manual.EXPLAIN).add_argument("id", metavar="ID")

    show = command("show", _show, manual.SHOW)
    show.add_argument("id", metavar="ID")
    what = show.add_mutually_exclusive_group()
    what.add_argument("--diff", action="store_true")
    what.add_argument("--events", action="store_true")

    usage = command("usage", _usage, manual.USAGE)
    usage.add_argument("--by", choices=("day", "model", "client", "account"), default="day")
    usage.add_argument("--days", type=_days, default=7, metavar="N")
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")

    export = command("export", _export, manual.EXPORT)
    export.add_argument("id", nargs="+", metavar="ID")
    export.add_argument("-o", metavar="FILE")
    kind = export.add_mutually_exclusive_group(required=True)
    for name in ("--har", "--jsonl", "--curl"):
        kind.add_argument(name, action="store_true")

    replay = command("replay", _replay, manual.REPLAY)
    replay.add_argument("id", metavar="ID")
    replay.add_argument("--model", metavar="M")
    replay.add_argument("--account", type=_header_value, metavar="A")
    replay.add_argument("--to", default="http://127.0.0.1:9090", metavar="URL")
    replay.add_argument("--offline", action="store_true")
    replay.add_argument("--speed", type=_speed, default=1.0, metavar="X")

    drift = command("drift", _drift, manual.DRIFT)
    drift.add_argument("--days", type=_days, default=7, metavar="N")
    drift.add_argument("--all", action="store_true")

    prune = command("prune", _prune, manual.PRUNE)
    prune.add_argument("--days", type=_days, default=7, metavar="N")
    prune.add_argument("--bytes", type=_bytes, default=1 << 30, metavar="N")

    verify = command("verify", _verify, manual.VERIFY)
    verify.add_argument("--policy", type=Path, metavar="FILE")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 100_000:
        raise argparse.ArgumentTypeError(f"a number up to 100000, not {text}")
    return int(text)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"a number of days from 1 to 10000, not {text}")
    return int(text)


UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _bytes(text: str) -> int:
    number, unit = (text[:-1], UNITS[text[-1].upper()]) if text[-1:].upper() in UNITS else (text, 1)
    if not number.isdecimal() or len(number) > 15:
        raise argparse.ArgumentTypeError(f"a number of bytes as 1000000, 500M or 2G, not {text}")
    return int(number) * unit


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed < 1e6:
        raise argparse.ArgumentTypeError(f"a number of at least 0, not {text}")
    return speed


def _header_value(text: str) -> str:
    """It becomes a header."""
    if not text.isascii() or not text.isprintable() or not text.strip():
        raise argparse.ArgumentTypeError("an account's name is of printable ASCII characters")
    return text


if __name__ == "__main__":
    sys.exit(main())
