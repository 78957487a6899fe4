"""The tests mirror the tree; `fakes` is the OpenAI that they run against."""
