import gc
import json
from typing import cast

import pytest
from mitmproxy.test import tflow

from addons import engine
from addons.engine.course import course_of
from addons.guard import Refused
from addons.streams import StreamChain
from addons.translate import Answer, dumped, parsed_object, undisturbed
from addons.wire.errors import OpenAIError
from addons.wire.plan import Answering, Dialect
from addons.wire.stage import Stage


@pytest.mark.parametrize(
    "body",
    [b'{"a":1}', b'{"a":"\\ud83d"}', b'{"a":"\\uDE00x"}', '{"a":"\u2028é😀"}'.encode(), b"{}"],
    ids=["plain", "a high half", "a low half", "beyond ASCII", "empty"],
)
def test_a_body_comes_out_as_it_went_in(body: bytes) -> None:
    assert json.loads(dumped(parsed_object(body))) == json.loads(body)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b'{"a":"\\ud8"}', b"\xff", b"[" * 100_000 + b'"\\ud800'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parsed_object(body)
    assert refused.value.error.status == 400


@pytest.mark.parametrize("looks", [True, False])
def test_garbage_is_looked_for_as_before_also_when_a_request_is_refused(looks: bool) -> None:
    def refuse() -> None:
        assert not gc.isenabled()
        raise Refused(OpenAIError(400, "no"))

    before = gc.isenabled()
    try:
        (gc.enable if looks else gc.disable)()
        with pytest.raises(Refused):
            undisturbed(refuse)
        assert gc.isenabled() is looks
    finally:
        (gc.enable if before else gc.disable)()


class Broken:
    """A machine with a bug in it, for which there is no real one."""

    finished = False

    def __call__(self, data: bytes) -> list[bytes]:
        raise RuntimeError("bug")


@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize("held", [True, False], ids=["before the first byte", "in the stream"])
def test_a_bug_in_a_machine_is_told_and_ends_the_answer(dialect: Dialect, held: bool) -> None:
    flow = tflow.tflow(resp=True)
    answer = Answer(flow, Answering(dialect, True, "m"), keep=lambda response: None)
    answer.stage = cast(Stage, Broken())
    chain = StreamChain(answer)
    chain.stages.append(answer)
    if held:
        engine.hold_head(flow)
    said = b"".join(chain(b"data: {}\n\n"))
    if held:
        assert said == b"" and (instead := course_of(flow).instead) and instead.status_code == 500
    else:
        assert b'"server_error"' in said and course_of(flow).end_in == 0.0
        assert said.endswith(b"data: [DONE]\n\n") == (dialect == "chat")
    assert chain(b"more") == []
