"""The same fake OpenAI as for the other end-to-end tests; test_image.py has one in a network of its own."""

from tests.e2e.conftest import openai

__all__ = ["openai"]
