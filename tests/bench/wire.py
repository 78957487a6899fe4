"""What translating costs: `python -m tests.bench.wire`.

One text delta on its way through each stage, whose goal is 15 microseconds; and a request of 1 MB, read, planned and written, whose
goal is 5 milliseconds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from addons.wire import chat_request, responses_request
from addons.wire.chat_stream import ChatStage
from addons.wire.fold import ChatFold, ResponsesFold
from addons.wire.models import Resolved
from addons.wire.plan import Answering, Dialect, Plan
from addons.wire.responses_stream import ResponsesStage
from addons.wire.stage import Stage
from tests.fakes.events import frame
from tests.fakes.speech import Message
from tests.wire.upstream import answer

DELTAS = 5000
ROUNDS = 7  # the best one counts: the others were disturbed

CHAT, RESPONSES = Answering("chat", True, "gpt-client"), Answering("responses", True, "gpt-client")
LIMITED = Answering("chat", True, "gpt-client", max_output_tokens=DELTAS * 9, stop=("never", "ever"))

STAGES: Mapping[str, Callable[[], Stage]] = {
    "Responses, streamed": lambda: ResponsesStage(RESPONSES, "resp_1", 1),
    "Responses, folded": lambda: ResponsesFold(RESPONSES, "resp_1", 1),
    "Chat, streamed": lambda: ChatStage(CHAT, "chatcmpl-1", 1),
    "Chat, streamed, max_tokens and stop": lambda: ChatStage(LIMITED, "chatcmpl-1", 1),
    "Chat, folded": lambda: ChatFold(CHAT, "chatcmpl-1", 1),
}


def microseconds(make: Callable[[], Stage], chunks: Sequence[bytes]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        stage, start = make(), time.perf_counter()
        for chunk in chunks:
            stage(chunk)
        best = min(best, time.perf_counter() - start)
        assert stage.finished
    return best / DELTAS * 1e6


MEGABYTE = 1 << 20
MODEL = Resolved("gpt-5.5")


def conversation(turns: int) -> list[dict[str, str]]:
    """1 MB of what people and models say to each other."""
    words = ("a word and then another one, " * (MEGABYTE // turns // 28 + 1))[: MEGABYTE // turns]
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": words} for n in range(turns)]


def request(dialect: Dialect, turns: int) -> bytes:
    said = "messages" if dialect == "chat" else "input"
    return orjson.dumps({"model": "gpt-5.5", "stream": True, "temperature": 1, said: conversation(turns)})


PLANS: Mapping[Dialect, Callable[[dict[str, Any]], Plan]] = {
    "chat": lambda body: chat_request.plan(body, model=MODEL),
    "responses": lambda body: responses_request.plan(body, model=MODEL),
}


def milliseconds(dialect: Dialect, turns: int) -> float:
    best, raw = float("inf"), request(dialect, turns)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        assert len(orjson.dumps(PLANS[dialect](orjson.loads(raw)).body)) > MEGABYTE
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    frames = [frame(event) for event in answer(Message(" ".join(f"word{n}" for n in range(DELTAS))))]
    stream = b"".join(frames)
    chunks = [stream[at : at + 16384] for at in range(0, len(stream), 16384)]
    print(f"µs per delta, {DELTAS} deltas             a chunk each    16 KiB chunks")
    for name, make in STAGES.items():
        print(f"{name:40}{microseconds(make, frames):12.1f}{microseconds(make, chunks):17.1f}")
    print()
    print(f"ms per request of 1 MB{'':18}{'40 turns':>12}{'400 turns':>17}{'4000 turns':>17}")
    for dialect in PLANS:
        print(f"{dialect:40}{milliseconds(dialect, 40):12.1f}{milliseconds(dialect, 400):17.1f}{milliseconds(dialect, 4000):17.1f}")


if __name__ == "__main__":
    main()
