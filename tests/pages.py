"""What is written for users: README.md and the pages in docs/. Tests that hold words against the code look for them here, on all of
it where it does not matter on which page they stand."""

from tests.proxy import ROOT

_FILES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in _FILES}
README = PAGES["README.md"]
# The lessons are no place to look something up, and have a test that runs them.
MANUAL = "\n".join(text for name, text in PAGES.items() if name != "docs/learn.md")


def section(page: str, heading: str) -> str:
    """What stands on that page below `## heading`."""
    found = PAGES[page].partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found, f"{page} has no section {heading}"
    return found
