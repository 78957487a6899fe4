// One process for many questions, since starting node and loading an SDK takes longer than asking it something. Each line of stdin
// is a question, {"of": "chat", "way": "create", ...}, and each line of stdout what the SDK saw, in the order of the questions.
import { createInterface } from "node:readline";

// stdout is for answers. What an SDK has to say besides, as the AI SDK does of its warnings, is for stderr.
console.log = console.info = console.error;

/** `ways` are what a program does with an SDK, by subject and name. Each takes a question, and returns or throws as the SDK. */
export async function serve(ways) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { of, way, ...question } = JSON.parse(line);
    const saw = await ways[of][way](question).catch((error) => ({ error: told(error) }));
    process.stdout.write(JSON.stringify(saw) + "\n");
  }
}

/** What a program can learn from an error. The two SDKs name the same facts differently. */
function told(error) {
  return {
    kind: error.constructor.name,
    message: error.message,
    status: error.status ?? error.statusCode ?? null,
    code: error.code ?? error.data?.error?.code ?? null,
    param: error.param ?? error.data?.error?.param ?? null,
    request_id: error.requestID ?? error.responseHeaders?.["x-request-id"] ?? null,
  };
}
