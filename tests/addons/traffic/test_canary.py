"""A secret put anywhere into a call is nowhere in the bytes of the database, its -wal included, nor in what bodies unpack to."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.traffic.exchange import Bodies, Body, Chunk, Client, Exchange, Failure
from addons.traffic.packing import unpack
from addons.traffic.recording import Tables, record_of
from addons.traffic.schema import open_to_write, transaction
from addons.traffic.upkeep import search
from addons.wire.plan import Edit
from tests.addons.traffic.calls import call
from tests.addons.traffic.spelling import cut_up, said_in, said_in_pieces
from tests.addons.traffic.tokens import escaped, tokens, unescaped


class Kept:
    """One database for all examples, kept open: a part of it is in the -wal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = open_to_write(path)
        self.tables = Tables(self.db)

    def write(self, exchange: Exchange, body_limit: int = 400) -> None:
        with transaction(self.db):
            self.tables.insert([record_of(exchange, body_limit)])

    def bodies(self) -> list[Body]:
        """Of the latest call, as they can be read."""
        found = self.db.execute("SELECT packed FROM bodies WHERE seq = (SELECT max(seq) FROM calls)").fetchall()
        return [unpack(packed) for (packed,) in found]

    def bytes(self) -> bytes:
        """On the disk, and in the latest call's bodies."""
        files = b"".join(file.read_bytes() for file in sorted(self.path.parent.iterdir()))
        return files + b"".join(body.data for body in self.bodies())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kept = Kept(tmp_path_factory.mktemp("canary") / "traffic.db")
    yield kept
    kept.db.close()


def anywhere(text: str, body: bytes, cuts: list[float], chance: random.Random) -> Exchange:
    """The secret in every body, one of them cut into chunks, and in one of the texts."""
    edges = sorted({0, len(body), *(int(cut * len(body)) for cut in cuts)})
    chunks = tuple(Chunk(float(a), body[a:b]) for a, b in zip(edges, edges[1:], strict=False))
    exchange = call(1, bodies=Bodies(Body.whole(body), Body.whole(body * 3), Body(chunks), Body(chunks)))
    place = chance.choice(["client", "model_asked", "account_why", "endpoint", "error", "edits", "id", "events", "event_fields"])
    found: dict[str, Any] = {
        "client": Client(text, text, text),
        "error": Failure("x", text, f"it said {text}"),
        "edits": (Edit("dropped", text, text),),
        "events": {text: 1},
        "event_fields": frozenset({text}),
    }
    return replace(exchange, **{place: found.get(place, f"a {text} b")})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300),
    tokens(),
    st.binary(max_size=300),
    st.lists(st.floats(0, 1), max_size=6),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_secret_is_in_the_bytes(
    kept: Kept, before: bytes, token: tuple[str, str], behind: bytes, cuts: list[float], escape: bool, chance: random.Random
) -> None:
    text, secret = token
    written = escaped(text, lambda i: chance.random() < 0.3) if escape else text
    kept.write(anywhere(text, before + written.encode() + behind, cuts, chance))
    data = kept.bytes()
    assert secret.encode() not in data and secret.encode() not in unescaped(data)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens(), st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_nor_is_one_that_a_model_spells(kept: Kept, token: tuple[str, str], cuts: list[int], chat: bool) -> None:
    text, secret = token
    body = said_in_pieces(["it is ", *cut_up(text, cuts), ", I think"], chat)
    kept.write(call(1, bodies=Bodies(upstream_events=body, client_answer=body)), body_limit=1 << 20)
    for part in kept.bodies():
        assert secret not in said_in(part) and said_in(part).startswith("it is ")


def test_the_search_of_the_whole_database_finds_nothing_either(kept: Kept) -> None:
    assert kept.db.execute("SELECT count(*) FROM calls").fetchone()[0] >= 80
    assert list(search(kept.db)) == []


def test_this_test_would_see_one(kept: Kept) -> None:
    kept.write(call(2, bodies=Bodies(Body.whole(b"a plain word of no importance"))))
    assert b"a plain word of no importance" in kept.bytes() and b"OpenAI/Python 3.52.0" in kept.bytes()
