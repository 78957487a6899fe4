"""Requests that the gate turns away: no key or a wrong one, somebody else's name, somebody else's web page. Pure.

On an open port they come without end. The first of an hour are recorded like any other call, so that it can be seen who they are;
the others are counted, or they would push the calls of a week out.
"""

AN_HOUR = 3600.0
RECORDED = 60
WHY = f"strangers were refused more than {RECORDED} times in an hour"


class Strangers:
    def __init__(self) -> None:
        self._since = -AN_HOUR
        self._seen = 0

    def one_more(self, now: float) -> bool:
        """Whether this one is to be recorded. `now` is of a clock that only goes forward."""
        if now - self._since >= AN_HOUR:
            self._since, self._seen = now, 0
        self._seen += 1
        return self._seen <= RECORDED
