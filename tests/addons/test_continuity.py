"""The decisions of the addon that need no proxy. What clients see of it is in tests/e2e/test_continuity.py."""

import pytest
from mitmproxy.test import taddons, tflow

from addons.continuity import CodexContinuity
from addons.guard import Refused
from addons.redact import OWNER
from addons.wire.continuity import Expanded
from addons.wire.plan import Answering
from tests.wire.asking import Object, heard, message, said

ANSWERING = Answering("responses", True, "gpt-5.5")
ANSWER: Object = {"id": "resp_1", "status": "completed", "output": [message("assistant", said("a" * 500), id="msg_1")]}


def asked(continuity: CodexContinuity, **body: object) -> Expanded:
    flow = tflow.tflow()
    flow.metadata[OWNER] = "me"
    expanded = continuity.expand(flow, {"input": [message("user", heard("b" * 500))], **body})
    continuity.begin(flow, expanded)
    continuity.keep(flow, ANSWERING, ANSWER)
    return expanded


@pytest.mark.parametrize(("store", "kept"), [({}, 1), ({"store": None}, 1), ({"store": True}, 1), ({"store": False}, 0)])
def test_a_turn_is_kept_unless_the_client_says_no(store: Object, kept: int) -> None:
    with taddons.context():
        continuity = CodexContinuity()
        asked(continuity, **store)
        assert len(continuity.kept) == kept


@pytest.mark.parametrize("limit", [None, "1m", "1k"])
def test_a_conversation_over_the_limit_of_a_body_is_refused_as_such_a_body_is(limit: str | None) -> None:
    with taddons.context() as tctx:
        tctx.master.options.add_option("body_size_limit", str | None, limit, "mitmproxy's own")
        continuity = CodexContinuity()
        asked(continuity)
        if limit != "1k":
            assert asked(continuity, previous_response_id="resp_1").ahead == 2
            return
        with pytest.raises(Refused) as refused:
            asked(continuity, previous_response_id="resp_1")
        assert refused.value.error.status == 413 and "over 1k (option body_size_limit)" in refused.value.error.message
