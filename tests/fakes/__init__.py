"""A strict OpenAI on loopback, for tests and for the demo.

`openai.FakeOpenAI` is the way in. What is where:

    openai              the four origins, in a thread or as a program
    console, control    the control endpoint, and its client
    world, settings     all state and what every request goes through; what a test may turn
    journal             what was seen
    faults, scripts     what goes wrong on purpose; answers to the letter

    issuer, oauth       sign-in in the browser, tokens; what both kinds of sign-in ask of a request
    device              sign-in with a code typed elsewhere
    identity            who is signed in, every token and its fate
    backend, websocket  the Codex backend; its other way of talking
    quota, catalog      how much of a plan is used; which models it gets
    rules, items        what the backend refuses in a body; in its items and tools
    platform, chat      api.openai.com; its older dialect
    prompts, speech     what the model was told; what it says
    events              how it says that, as a stream

    http, uploads       HTTP/1.1 on a socket; multipart bodies
    routes, errors      which handler answers; the two error bodies
    shapes              the shape of a request, and how a wrong one is complained about
"""
