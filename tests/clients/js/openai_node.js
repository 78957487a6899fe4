// The ways in which a program asks with the official SDK. Argument: the base URL.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { serve } from "./serve.js";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "placeholder", maxRetries: 0 });
const City = z.object({ said: z.string() });

const chat = {
  create: async ({ ask }) => completion(await client.chat.completions.create(ask)),
  iterate: async ({ ask }) => {
    const message = { content: "", tool_calls: [] };
    let last, finish_reason, usage;
    for await (last of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
      usage = last.usage;
      for (const { delta, finish_reason: reason } of last.choices) {
        message.content += delta.content ?? "";
        for (const { index, function: part } of delta.tool_calls ?? []) {
          message.tool_calls[index] ??= { function: { name: part.name, arguments: "" } };
          message.tool_calls[index].function.arguments += part.arguments ?? "";
        }
        finish_reason ??= reason;
      }
    }
    return completion({ model: last.model, choices: [{ message, finish_reason }], usage });
  },
  helper: async ({ ask }) => {
    const stream = client.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
    return completion(await stream.finalChatCompletion());
  },
  parse: async ({ ask }) => {
    const answer = await client.chat.completions.parse({ ...ask, response_format: zodResponseFormat(City, "City") });
    return { parsed: answer.choices[0].message.parsed };
  },
  "run tools": async ({ ask, result }) => {
    const called = [];
    const run = (name) => (given) => {
      called.push({ name, arguments: given });
      return result;
    };
    const tools = ask.tools.map((tool) => ({ ...tool, function: { ...tool.function, function: run(tool.function.name) } }));
    return { text: await client.chat.completions.runTools({ ...ask, tools }).finalContent(), calls: called };
  },
};

const responses = {
  create: async ({ ask }) => response(await client.responses.create(ask)),
  iterate: async ({ ask }) => {
    let text = "";
    let last;
    for await (last of await client.responses.create({ ...ask, stream: true })) {
      if (last.type === "response.output_text.delta") text += last.delta;
    }
    return { ...response(last.response), text };
  },
  helper: async ({ ask }) => response(await client.responses.stream(ask).finalResponse()),
  parse: async ({ ask }) => {
    const answer = await client.responses.parse({ ...ask, text: { format: zodTextFormat(City, "City") } });
    return { parsed: answer.output_parsed };
  },
  "run tools": async ({ ask, result }) => {
    const first = await client.responses.create(ask);
    const outputs = calls(first).map((call) => ({ type: "function_call_output", call_id: call.call_id, output: result }));
    const input = [{ role: "user", content: ask.input }, ...first.output, ...outputs];
    return { ...response(await client.responses.create({ ...ask, input })), calls: response(first).calls };
  },
};

const models = {
  list: async () => ({ models: (await client.models.list()).data.map((model) => model.id) }),
  retrieve: async ({ model }) => ({ models: [(await client.models.retrieve(model)).id] }),
};

function completion({ model, choices: [{ message, finish_reason }], usage }) {
  const called = (message.tool_calls ?? []).map((call) => toCall(call.function));
  return { model, text: message.content ?? "", finish: finish_reason, calls: called, tokens: usage.total_tokens };
}

function response(answer) {
  const finish = answer.incomplete_details?.reason ?? answer.status;
  const called = calls(answer).map(toCall);
  return { model: answer.model, text: answer.output_text, finish, calls: called, tokens: answer.usage.total_tokens };
}

function calls(answer) {
  return answer.output.filter((item) => item.type === "function_call");
}

function toCall({ name, arguments: given }) {
  return { name, arguments: given };
}

await serve({ chat, responses, models });
