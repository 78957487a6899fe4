"""An agent of pydantic-ai, which runs in the environment of .venv-clients. Argument: the base URL.

Each line of stdin is a question, {"of": "chat", "way": "run", "prompts": ["hello"]}, and each line of stdout what a program saw of
the answer, in the order of the questions. The prompts are the turns of one conversation.
"""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    said: str


MODELS: dict[str, Any] = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}
# A structured answer is either the arguments of a tool that pydantic-ai offers for it, or a text under a JSON schema.
OUTPUTS: dict[str, Any] = {"text": str, "by tool": City, "by schema": NativeOutput(City)}


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def converse(client: AsyncOpenAI, question: dict[str, Any]) -> dict[str, Any]:
    model = MODELS[question["of"]](question.get("model", "gpt-5.5"), provider=OpenAIProvider(openai_client=client))
    agent = Agent(model, instructions="Be brief.", tools=[weather], output_type=OUTPUTS[question.get("output", "text")])
    heard: list[Any] = []
    deltas: list[str] = []
    run: Any = None
    for prompt in question["prompts"]:
        if question["way"] == "stream":
            async with agent.run_stream(prompt, message_history=heard) as run:
                deltas = [delta async for delta in run.stream_text(delta=True, debounce_by=None)]
                output: Any = "".join(deltas)
        else:
            run = await agent.run(prompt, message_history=heard)
            output = run.output
        heard = run.all_messages()
    return {
        "output": output.model_dump() if isinstance(output, City) else output,
        "deltas": len(deltas),
        "parts": [type(part).__name__ for message in heard for part in message.parts],
        "finish_reason": [message.finish_reason for message in heard if isinstance(message, ModelResponse)][-1],
        "tokens": [run.usage.input_tokens, run.usage.output_tokens],
    }


def told(error: Exception) -> dict[str, Any]:
    """What a program can learn from an error."""
    body: Any = error.body if isinstance(error, ModelHTTPError) else None
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "status": error.status_code if isinstance(error, ModelHTTPError) else None,
        "code": body["code"] if body else None,
        "param": body["param"] if body else None,
        "request_id": getattr(error.__cause__, "request_id", None),
    }


async def serve(base_url: str) -> None:
    for line in sys.stdin:
        async with AsyncOpenAI(base_url=base_url, api_key="placeholder", max_retries=0) as client:
            try:
                saw = await converse(client, json.loads(line))
            except Exception as error:  # noqa: BLE001 - what it may be is the question
                saw = {"error": told(error)}
        print(json.dumps(saw), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
