"""What a list of flows says of a call at a glance, `gpt-6-luna · 1.2k→340 tok · first token 0.60s · ada`, and how it marks it."""

from addons.traffic.exchange import Exchange, Outcome
from addons.traffic.text import count, seconds

# mitmproxy's names for them. What ended early by the rules, or because its client wished so, is no failure of anybody's.
MARKS: dict[Outcome, str] = {
    "failed": ":red_circle:",
    "cut": ":red_circle:",
    "refused": ":no_entry:",
    "client_left": ":door:",
    "incomplete": ":large_orange_diamond:",
    "complete": "",
}

# Of an error's message; all of it is in the answer.
MAX_MESSAGE = 80


def comment(exchange: Exchange) -> str:
    tokens, error = exchange.tokens, exchange.error
    told = [
        exchange.model_used or exchange.model_asked,
        f"{count(tokens.input_tokens)}→{count(tokens.output_tokens)} tok" if tokens else "",
        f"first token {seconds(exchange.first_token)}" if exchange.first_token is not None else "",
        exchange.account,
        f"{len(exchange.attempts)} attempts" if len(exchange.attempts) > 1 else "",
        "client left" if exchange.outcome == "client_left" else "",
        f"{error.code or error.type}: {error.message}"[:MAX_MESSAGE] if error else "",
    ]
    return " · ".join(filter(None, told))


def mark(exchange: Exchange) -> str:
    return MARKS[exchange.outcome]
