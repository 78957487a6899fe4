"""The fake OpenAI is what everything else is measured with, so it is measured first."""
