"""What to do about a call that went wrong: by its error code, else by how it ended, else by its status."""

from collections.abc import Mapping

from addons.traffic.exchange import Exchange, Outcome

SIGN_IN = "run `make login`; the running proxy notices the new sign-in"
WAIT_FOR_PLAN = "the plan is used up: wait until it resets, or sign in with another account (`make login ARGS='--account NAME'`)"
FIX_REQUEST = "the client's request is wrong, the message says where; the proxy passed it on as `show --diff` tells"

BY_CODE: Mapping[str, str] = {
    # codex-mitm's own
    "login_required": SIGN_IN,
    "account_unusable": "mend or remove the account file that the message names; `python -m auth status` checks it",
    "auth_unavailable": "the sign-in service is away: try again after the seconds in retry-after",
    "upstream_auth_error": "a token that was just renewed is refused: look at `python -m auth status`, then sign in anew",
    "no_account": "no account can be asked now: `python -m auth status` says why; with x-codex-account, see which names there are",
    "wrong_account_kind": "leave `codex_upstream` at `auto`, or sign in with ChatGPT (`make login`)",
    "missing_scope": "leave `codex_upstream` at `auto`, or use an account with an API key (`make login ARGS=--api-key-stdin`)",
    "upstream_blocked": "Cloudflare wants a browser, as for data-centre addresses: use another network",
    "upstream_error": "try again; if it stays, see what upstream said with `show --events` (needs recorded bodies)",
    "upstream_stream_incomplete": "upstream broke off: ask again; a proxy or VPN between here and OpenAI may cut long answers",
    "upstream_timeout": "upstream did not begin, or fell silent: try again; the message names the option for how long to wait",
    "not_supported": "this path needs an account with an API key (`make login ARGS=--api-key-stdin`)",
    "method_not_supported": "this path takes another method, which the answer's `Allow` header names",
    "invalid_json": "the client sent a body that is no JSON object; `show` has it, if bodies are recorded",
    "invalid_encoding": "the client compressed its body in a way that cannot be read: turn that off there",
    "websocket_not_supported": "the Codex CLI goes on over POST by itself; `codex_websocket=relay` relays the WebSocket",
    "queue_full": "more requests came at once than may wait: send fewer, or raise `codex_queue_size`",
    "queue_timeout": "requests before it took too long: send fewer at once, or raise `codex_max_parallel` or `codex_queue_timeout`",
    "proxy_stopped": "start the proxy again and repeat the call",
    "request_too_large": "send less, or raise `body_size_limit`",
    "host_not_allowed": "the client used a name for the proxy that it does not serve: add it to `codex_hosts`",
    "invalid_host": "the client sent no Host header, or several: every HTTP library sends one",
    "origin_not_allowed": "a web page asked: list its site under `origins` in policy.yaml, if it may spend your plan",
    "invalid_api_key": "the key of the client or account is refused: look at `python -m auth status`",
    "page_header_missing": "a program that signs in as the page does has to send the header x-codex-page: 1",
    "too_many_sign_ins": "end one of the sign-ins that wait, or let them expire",
    "accounts_are_set": "leave `codex_accounts` out: with it the proxy takes the accounts that it names, and no others",
    "no_sign_in": "begin a new sign-in",
    "server_error": "if the message names codex-mitm, its log has the fault; else upstream failed, and trying again helps",
    # OpenAI's
    "usage_limit_reached": WAIT_FOR_PLAN,
    "usage_not_included": "the account's plan does not include Codex: sign in with one that does",
    "insufficient_quota": WAIT_FOR_PLAN,
    "credit_balance_exhausted": "buy credits, or wait until the plan resets",
    "rate_limit_exceeded": "too many requests or tokens in a minute: send fewer at once, or wait for retry-after",
    "slow_down": "send fewer requests at once",
    "server_is_overloaded": "upstream is overloaded: try again in a minute, or use another model",
    "timeout": "upstream took too long: try again",
    "context_length_exceeded": "the conversation is longer than the model takes: shorten it, or let the client compact it",
    "model_not_found": "this account does not have the model: `GET /v1/models` lists those it has, `policy.yaml` can map its name",
    "previous_response_not_found": "that turn is not kept any more: let the client send the whole conversation",
    "turns_unavailable": "the Redis in which conversations are kept is away: bring it back, or let the client send all of it",
    "invalid_prompt": "upstream's safety check refused the prompt: word it differently",
    "content_filter": "upstream's filter stopped the answer: word the request differently",
    "cyber_policy": "upstream's policy refused the request",
    "bio_policy": "upstream's policy refused the request",
    "unsupported_parameter": "the backend does not take that parameter; tell us, it should have been dropped",
    "unsupported_value": FIX_REQUEST,
    "missing_required_parameter": FIX_REQUEST,
    "unknown_parameter": FIX_REQUEST,
    "invalid_type": FIX_REQUEST,
    "invalid_value": FIX_REQUEST,
    "empty_array": FIX_REQUEST,
    "array_above_max_length": FIX_REQUEST,
}

BY_OUTCOME: Mapping[Outcome, str] = {
    "cut": BY_CODE["upstream_stream_incomplete"],
    "client_left": "the client closed the connection: its own timeout may be too short, or somebody pressed Ctrl-C",
    "incomplete": "the answer stopped early, at a limit on tokens or a filter: raise `max_tokens` if it was that",
}

BY_STATUS: Mapping[int, str] = {
    400: FIX_REQUEST,
    401: SIGN_IN,
    404: "the path or the model does not exist there",
    413: BY_CODE["request_too_large"],
    429: BY_CODE["rate_limit_exceeded"],
    503: "try again in a moment",
    504: "upstream took too long: try again, or raise the timeouts",
}


def remedy(exchange: Exchange) -> str:
    """Empty if nothing went wrong."""
    if exchange.error and exchange.error.code in BY_CODE:
        return BY_CODE[exchange.error.code]
    if exchange.outcome in BY_OUTCOME:
        return BY_OUTCOME[exchange.outcome]
    if not exchange.failed:
        return ""
    return BY_STATUS.get(exchange.status or 0, BY_CODE["upstream_error"])
