"""Answers that a model says in pieces, each in an event of its own."""

import json

from addons.traffic.exchange import Body, Chunk


def said_in_pieces(pieces: list[str], chat: bool) -> Body:
    """The stream of one answer; each event is a chunk."""
    events = [
        {"choices": [{"index": 0, "delta": {"content": piece}}]}
        if chat
        else {"type": "response.output_text.delta", "delta": piece, "item_id": "msg_1"}
        for piece in pieces
    ]
    return Body(Chunk(float(n), b"data: " + json.dumps(event).encode() + b"\n\n") for n, event in enumerate(events))


def said_in(body: Body) -> str:
    """What its events say together; all of them are still JSON."""
    events = [json.loads(line[6:]) for line in body.data.split(b"\n\n") if line]
    return "".join(event["choices"][0]["delta"]["content"] if "choices" in event else event["delta"] for event in events)


def cut_up(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
