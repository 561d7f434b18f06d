"""A chat completion, read from the body of a response and converted to and from the JSON text of a paid answer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Completion", "parse_completion", "stored_completion"]

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""The fields in which servers return a model's reasoning separately from the answer."""

TEXT_PARTS = (None, "text", "output_text")
"""The types of parts of a message that belong to the answer; other types, such as `thinking`, do not."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion's text (None if empty), its finish reason and its token counts (None if not reported).

    `reasoning` and `refusal` are set only if the text is empty and the server returned reasoning or a refusal instead.
    `model` and `fingerprint` are what the server reports about itself, or "" if it does not.
    The field names are the keys of a paid answer on disk.
    """

    content: str | None
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning: str = ""
    refusal: str = ""
    model: str = ""
    fingerprint: str = ""

    @property
    def tokens(self) -> int | None:
        """The total number of prompt and completion tokens, or None if the server did not report both counts."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> str:
        """Convert the completion to ASCII JSON, because UTF-8 cannot encode unpaired surrogates in answers."""
        return json.dumps({key: value for key, value in asdict(self).items() if value != ""}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Completion":
        """Convert text returned by `to_json` back to a completion."""
        return cls(**json.loads(text))


def stored_completion(paid_answers: Mapping[str, str], key: str) -> Completion | None:
    """Return the completion stored under a key, or None if the key has no stored completion."""
    text = paid_answers.get(key)
    return None if text is None else Completion.from_json(text)


def parse_completion(body: str) -> Completion | None:
    """Parse a chat completion from a response body.

    Return None if the body is not a chat completion, for example if it is a proxy's error page, which costs nothing.
    """
    try:
        value = json.loads(body)
        choice, usage = value["choices"][0], value.get("usage")
        message, finish, failure = choice.get("message"), choice.get("finish_reason"), choice.get("error")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    if failure:
        return None
    fields = message if isinstance(message, dict) else {}
    text = _joined(fields.get("content"))
    reasoning = "" if text else next(filter(None, (_joined(fields.get(key)) for key in REASONING_FIELDS)), "")
    refusal = "" if text else _joined(fields.get("refusal"))
    counts = [usage.get(key) if isinstance(usage, dict) else None for key in ("prompt_tokens", "completion_tokens")]
    read, written = (count if type(count) is int and count >= 0 else None for count in counts)
    own = [value.get(key) for key in ("model", "system_fingerprint")]
    model, fingerprint = (name if isinstance(name, str) else "" for name in own)
    finish = finish if isinstance(finish, str) else ""
    return Completion(text or None, finish, read, written, reasoning, refusal, model, fingerprint)


def _joined(content: Any) -> str:
    """Return the text of a field, which is a string or a list of parts, or "" if there is only white space."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") in TEXT_PARTS else part for part in parts]
    text = "".join(text for text in texts if isinstance(text, str))
    return text if text.strip() else ""
