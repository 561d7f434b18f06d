"""A kib writer, a kib model and a kib judge that use an OpenAI-compatible chat endpoint.

- `options`: the keys in the tables `[writers.NAME]`, `[models.NAME]` and `[judges.NAME]`
- `prompts`: default prompts, and the message built from a prompt and a passage
- `completion`: a chat completion, read from a response or from the stored paid answers
- `parsing`: texts, pairs and questions parsed from a completion and validated
- `http_client`: HTTP requests with limits on time and size, which can be cancelled
- `endpoint`: requests to the server, with retries
- `passage_jobs`: the requests needed for one passage
- `paid_plugin`: what the writer and the judge have in common
- `request_pool`: runs many jobs concurrently, within the token budget
- `writer`: the plugin that generates training text and test questions
- `chat_backend`: the answers of a measured model
- `model`: the plugin that measures a chat model
- `verdicts`: the prompt of a judge, and the verdict parsed from its reply
- `judge`: the plugin that grades generated answers
"""
