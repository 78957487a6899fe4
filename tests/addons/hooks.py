"""Hooks called as mitmproxy calls them."""

from collections.abc import Awaitable


async def over(waiting: Awaitable[None] | None) -> None:
    """A hook returns what is still to be waited for, which may be nothing."""
    if waiting is not None:
        await waiting
