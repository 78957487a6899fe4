"""How long one text delta takes on its way through each stage: `python -m tests.bench.wire`. The goal is 15 microseconds."""

import time
from collections.abc import Callable, Mapping, Sequence

from addons.wire.chat_stream import ChatStage
from addons.wire.fold import ChatFold, ResponsesFold
from addons.wire.plan import Answering
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


def main() -> None:
    frames = [frame(event) for event in answer(Message(" ".join(f"word{n}" for n in range(DELTAS))))]
    stream = b"".join(frames)
    chunks = [stream[at : at + 16384] for at in range(0, len(stream), 16384)]
    print(f"µs per delta, {DELTAS} deltas             a chunk each    16 KiB chunks")
    for name, make in STAGES.items():
        print(f"{name:40}{microseconds(make, frames):12.1f}{microseconds(make, chunks):17.1f}")


if __name__ == "__main__":
    main()
