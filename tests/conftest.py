"""How the suite is spread over processes: a file stays together (`--dist loadfile`), because its tests share proxies."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first (`--no-loadscope-reorder`): at the end all processes should have something to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
