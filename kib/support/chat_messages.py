"""The messages of a chat as one text, for endpoints that accept messages instead of a text in the model's template.

The first line is a JSON list of all messages, in which the last message has no content; everything after the first line
is the content of the last message. Passages are inserted into the last message, so they need no escapes.
"""

import json
from collections.abc import Mapping, Sequence

from kib.errors import InputError

__all__ = ["chat_as_text", "messages_of"]


def chat_as_text(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
    """Return messages as one text, from which `messages_of` restores the messages.

    Raises InputError if `add_generation_prompt` is false, because no endpoint continues an answer that has begun.
    """
    if not add_generation_prompt:
        raise InputError(
            "the task begins the model's answer (`gen_prefix`), but a chat endpoint cannot continue an answer; use a "
            "different task"
        )
    *earlier, last = messages
    turns = [{"role": message["role"], "content": message["content"]} for message in earlier]
    return f"{json.dumps([*turns, {'role': last['role']}], ensure_ascii=False)}\n{last['content']}"


def messages_of(prompt: str) -> list[dict[str, str]]:
    """Return the messages in a text of `chat_as_text`; any other text is the only message of a user."""
    first, _, rest = prompt.partition("\n")
    try:
        messages = json.loads(first)
    except (ValueError, RecursionError):
        messages = None
    if not isinstance(messages, list) or not messages:
        return [{"role": "user", "content": prompt}]
    *earlier, last = messages
    if not all(_has(message, "role", "content") for message in earlier) or not _has(last, "role"):
        return [{"role": "user", "content": prompt}]
    return [*earlier, {**last, "content": rest}]


def _has(message: object, *keys: str) -> bool:
    """Return whether a JSON value is an object with exactly these keys, whose values are texts."""
    return isinstance(message, dict) and message.keys() == set(keys) and all(isinstance(message[k], str) for k in keys)
