"""How the suite is spread over processes: a file stays together, because its tests share proxies that take a second to start."""

import pytest

# The sign-in listens on ports 1455 and 1457, which are registered for it: no two of these may run at once.
ON_THE_SIGN_IN_PORTS = ("tests/auth/test_callback.py", "tests/auth/test_login.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("sign-in ports" if file in ON_THE_SIGN_IN_PORTS else file))
