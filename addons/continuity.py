"""What OpenAI keeps of Responses, and the Codex backend does not: turns to go on from, items to refer to, responses to read again.

Each client has its own (`redact.OWNER`). A turn is kept when its answer has ended, whole or cut off, unless the client set `store`
to false. An answer that failed is not kept, nor one whose client left before its end. Several proxies may keep their turns for each
other (`Shelf`).
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any, NamedTuple, Protocol

from mitmproxy import ctx, http
from mitmproxy.utils import asyncio_utils, human

from addons import engine
from addons.accounts import ACCOUNT_KIND, RESPONSE_ID
from addons.guard import Refused, guarded, is_open
from addons.kept import Kept, OwnMemory, Turn
from addons.redact import OWNER
from addons.route import is_codex_cli
from addons.upstreams import CODEX_PATHS, bare_path, choose
from addons.wire.continuity import Expanded, conversation, expand, referred, with_ids
from addons.wire.errors import OpenAIError
from addons.wire.events import written
from addons.wire.input_items import Item
from addons.wire.item_list import list_document
from addons.wire.plan import Answering, BadRequest
from addons.wire.response_object import ResponseObjects

logger = logging.getLogger(__name__)

_PATH = re.compile(r"/responses/([^/]+)(|/input_items|/cancel)")

NOT_CANCELLED = OpenAIError(400, "Cannot cancel a synchronous response: only those with background set to true can be cancelled")
NOT_STREAMED = OpenAIError(
    400,
    "Unsupported parameter: 'stream': what is kept of a response is its end, and there is nothing left to stream.",
    code="unsupported_parameter",
    param="stream",
)


class Asked(NamedTuple):
    """The half of a turn that is known before its answer."""

    owner: str
    previous: Turn | None
    items: list[Item]


class Shelf(Protocol):
    """Where several proxies keep their turns for each other (shared/turns.py)."""

    async def recall(self, owner: str, responses: Set[str], items: Set[str]) -> str:
        """Brings into memory what is asked for and kept anywhere, and takes out of it what was deleted. Returns why it cannot be
        known whether there is more, if so.
        """

    async def keep(self, turn: Turn) -> None:
        """So that it can be asked for everywhere."""

    async def forget(self, owner: str, response_id: str) -> str:
        """Everywhere. Returns why that is not possible, if so."""


type _Answer = Callable[[CodexContinuity, Turn, Mapping[str, str]], dict[str, Any]]


class CodexContinuity:
    """Before `CodexRoute`, which refuses the paths that are answered here. `CodexTranslate` asks it to expand and to keep."""

    def __init__(self, kept: Kept | None = None, shelf: Shelf | None = None) -> None:
        self.kept = Kept() if kept is None else kept  # an empty one is there, too
        self.shelf = shelf
        self.telling: engine.OnFlow[asyncio.Task[None]] = engine.OnFlow("telling")
        self.asked: engine.OnFlow[Asked] = engine.OnFlow("asked")

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        path = bare_path(flow.request.path)
        if path in CODEX_PATHS or not (found := _PATH.fullmatch(path)):
            return None
        if not is_open(flow) or is_codex_cli(flow.request.headers):
            return None
        answer = _ANSWERS.get((flow.request.method, found[2]))
        if not answer or choose(ctx.options.codex_upstream, flow.metadata[ACCOUNT_KIND]) != "codex":
            return None
        return self._answer(flow, found[1], answer)

    async def _answer(self, flow: http.HTTPFlow, response_id: str, answer: _Answer) -> None:
        await self._recall(flow, {response_id}, set())
        turn = self._turn(flow, response_id)
        if flow.request.method == "DELETE":
            await self._forget(turn)
        document = answer(self, turn, flow.request.query)
        flow.response = engine.json_response(200, written(document))

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """What the client does next may come to another proxy, which has to know of this one's answer by then."""
        return self.telling.pop(flow)

    async def recall(self, flow: http.HTTPFlow, body: Mapping[str, Any]) -> None:
        """Before `expand`, which has to find in memory what the request goes on from. Raises Refused."""
        if self.shelf:
            await self._recall(flow, *referred(body))

    def expand(self, flow: http.HTTPFlow, body: Mapping[str, Any]) -> Expanded:
        """The client's request with all that was said before it. Raises Refused."""
        memory = OwnMemory(self.kept, flow.metadata[OWNER])
        previous = body.get("previous_response_id")
        if isinstance(previous, str) and (turn := self.kept.find(memory.owner, previous)):
            check_length(turn.length + len(flow.request.raw_content or b""))
        try:
            return expand(body, memory)
        except BadRequest as e:
            raise refused(e) from e

    def begin(self, flow: http.HTTPFlow, expanded: Expanded) -> None:
        """The request goes out: what it adds to its conversation is known, its answer is still to come."""
        if expanded.body.get("store") is False:
            return
        owner, previous = flow.metadata[OWNER], expanded.previous_response_id
        turn = self.kept.find(owner, previous) if previous is not None else None
        self.asked[flow] = Asked(owner, turn, with_ids(expanded.own, uuid.uuid4().hex))

    def keep(self, flow: http.HTTPFlow, answering: Answering, response: Mapping[str, Any]) -> None:
        """The answer has ended, and did not fail; `response` is upstream's, with the items as the client gets them."""
        asked = self.asked.pop(flow)
        if asked is None:
            return
        document = ResponseObjects(answering.model, answering.echo).of(response)
        turn = Turn(asked.owner, asked.previous, asked.items, document)
        if self.kept.keep(turn):
            if self.shelf:
                self.telling[flow] = asyncio_utils.create_task(self.shelf.keep(turn), name="codex turn", keep_ref=True)
            flow.metadata[RESPONSE_ID] = turn.id  # who goes on from it gets the same account, which alone can read its reasoning
        else:
            logger.warning("a response is not kept: its conversation alone is more than %d bytes in memory", self.kept.max_bytes)

    async def _recall(self, flow: http.HTTPFlow, responses: Set[str], items: Set[str]) -> None:
        if self.shelf is None or not (responses or items):
            return
        owner = flow.metadata[OWNER]
        trouble = await self.shelf.recall(owner, responses, items)
        if trouble and not self.kept.has_all(owner, responses, items):
            raise Refused(out_of_reach(trouble))

    async def _forget(self, turn: Turn) -> None:
        if self.shelf and (trouble := await self.shelf.forget(turn.owner, turn.id)):
            raise Refused(out_of_reach(trouble))  # others have it, and would go on to show it

    def _turn(self, flow: http.HTTPFlow, response_id: str) -> Turn:
        turn = self.kept.find(flow.metadata[OWNER], response_id)
        if turn is None:
            raise Refused(OpenAIError(404, f"Response with id '{response_id[:100]}' not found."))
        return turn

    def _show(self, turn: Turn, query: Mapping[str, str]) -> dict[str, Any]:
        if query.get("stream", "").lower() in ("true", "1"):
            raise Refused(NOT_STREAMED)
        return turn.document()

    def _delete(self, turn: Turn, query: Mapping[str, str]) -> dict[str, Any]:
        self.kept.forget(turn.owner, turn.id)
        return {"id": turn.id, "object": "response", "deleted": True}

    def _list_input(self, turn: Turn, query: Mapping[str, str]) -> dict[str, Any]:
        *before, own = [each.said() for each in turn.and_before()][::-1]
        said, _ = conversation(before, own.input)
        try:
            return list_document([*said, *own.input], query)
        except BadRequest as e:
            raise refused(e) from e

    def _cancel(self, turn: Turn, query: Mapping[str, str]) -> dict[str, Any]:
        raise Refused(NOT_CANCELLED)


_ANSWERS: Mapping[tuple[str, str], _Answer] = {
    ("GET", ""): CodexContinuity._show,
    ("DELETE", ""): CodexContinuity._delete,
    ("GET", "/input_items"): CodexContinuity._list_input,
    ("POST", "/cancel"): CodexContinuity._cancel,
}


def check_length(length: int) -> None:
    """Raises Refused for a conversation that would not be taken if the client sent it itself."""
    limit = human.parse_size(ctx.options.body_size_limit)
    if limit is not None and length > limit:
        said = f"the conversation with what was said before is {length} bytes, over {ctx.options.body_size_limit}"
        raise Refused(OpenAIError(413, f"{said} (option body_size_limit)", param="previous_response_id"))


def out_of_reach(trouble: str) -> OpenAIError:
    return OpenAIError(
        503,
        f"the turns that several proxies keep together are out of reach, {trouble}: try again, or send the whole conversation",
        code="turns_unavailable",
        headers={"retry-after": "1"},
    )


def refused(reason: BadRequest) -> Refused:
    return Refused(OpenAIError(400, reason.message, code=reason.code, param=reason.param))
