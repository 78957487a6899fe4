"""Options of mitmproxy, read in less time: each value is copied twice, twenty-five times in a call."""

from copy import deepcopy
from typing import Any

from mitmproxy.optmanager import OptManager, _Option, unset

from addons.engine.originals import original

# What nobody can change has not to be copied.
UNCHANGEABLE = frozenset({str, int, float, bool, type(None)})


def current(self: _Option) -> Any:
    value = self._default if self.value is unset else self.value
    return value if type(value) in UNCHANGEABLE else deepcopy(value)


def get_attribute(self: OptManager, attr: str) -> Any:
    option = self.__dict__.get("_options", {}).get(attr)
    if option is None:
        return original[OptManager, "__getattr__"](self, attr)
    value = option._default if option.value is unset else option.value
    return value if type(value) in UNCHANGEABLE else deepcopy(value)
