// The ways in which a program asks with Vercel's AI SDK, by each of the three providers that speak to a server in OpenAI's shape.
// Argument: the base URL.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { z } from "zod";
import { serve } from "./serve.js";

const settings = { baseURL: process.argv[2], apiKey: "placeholder" };
const openai = createOpenAI(settings);
const compatible = createOpenAICompatible({ ...settings, name: "compatible", includeUsage: true, supportsStructuredOutputs: true });
const City = z.object({ said: z.string() });

const waysWith = (provider) => ({
  generate: async (question) => answer(await generateText(call(provider, question))),
  stream: async (question) => {
    const result = streamText(call(provider, question));
    let text = "";
    for await (const part of result.stream) {
      if (part.type === "text-delta") text += part.text;
      if (part.type === "error") throw part.error;
    }
    return { ...(await answer(result)), text };
  },
  "await stream": async (question) => answer(streamText(call(provider, question))),
  "generate object": async (question) => {
    return { parsed: (await generateText({ ...call(provider, question), output: Output.object({ schema: City }) })).output };
  },
  "stream object": async (question) => {
    return { parsed: await streamText({ ...call(provider, question), output: Output.object({ schema: City }) }).output };
  },
  converse: async ({ then, ...question }) => {
    const first = await generateText(call(provider, question));
    const messages = [...question.ask.messages, ...first.responseMessages, then];
    return answer(await generateText(call(provider, { ...question, ask: { ...question.ask, messages } })));
  },
});

/** A question as the SDK takes it. A tool is a schema and the `result` of its function, which goes back in a second step. */
function call(provider, { model, ask, tools = {}, result }) {
  const callable = (schema) => tool({ inputSchema: jsonSchema(schema), execute: () => result });
  return {
    ...ask,
    model: provider(model),
    tools: Object.fromEntries(Object.entries(tools).map(([name, schema]) => [name, callable(schema)])),
    stopWhen: isStepCount(2),
    maxRetries: 0,
    onError() {}, // It would write the error to stderr, which is where the last words of a program that died are looked for.
  };
}

async function answer(result) {
  const [text, finish, usage, steps, response] = await Promise.all([
    result.text,
    result.finishReason,
    result.usage,
    result.steps,
    result.response,
  ]);
  const calls = steps.flatMap((step) => step.toolCalls).map(({ toolName, input }) => ({ name: toolName, arguments: input }));
  return { model: response.modelId, text, finish, calls, tokens: usage.totalTokens };
}

await serve({ chat: waysWith(openai.chat), responses: waysWith(openai.responses), compatible: waysWith(compatible) });
