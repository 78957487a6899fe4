"""What an exchange inherits from its connection. Takes the place of `Context.fork`."""

from mitmproxy.proxy.context import Context


def fork(self: Context) -> Context:
    """mitmproxy makes a server for it first, with a number from the operating system, and throws it away."""
    forked = Context.__new__(Context)
    vars(forked).update(vars(self))
    forked.layers = self.layers.copy()
    return forked
