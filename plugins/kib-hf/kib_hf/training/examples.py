"""Conversion of text to training examples, which consist of tokens and labels.

Every token in a text contributes to the loss in exactly one example, regardless of how texts are split or joined.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib.errors import InputError
from kib.prompts import ask_question
from kib.records import Text, Weights
from kib_hf.loading import load_tokenizer
from kib_hf.training.options import TrainingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "Example", "end_token", "join", "prepare_examples", "sample_examples", "split", "tokenize"]

IGNORED = -100
"""The label of a token that does not contribute to the loss, as defined by PyTorch and transformers."""

SAMPLE_TOKENS = 16_384
"""The approximate number of tokens in the text sample for measuring the loss before and after training."""


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens with one label per token: the token itself if it contributes to the loss, otherwise IGNORED.

    The first label is always IGNORED because the first token has no preceding token to predict it.
    """

    tokens: "array[int]"
    labels: "array[int]"

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def loss_tokens(self) -> int:
        """Return the number of tokens in the example that contribute to the loss."""
        return len(self.labels) - self.labels.count(IGNORED)


def prepare_examples(texts: Sequence[Text], start: Weights, options: TrainingOptions) -> list[Example]:
    """Tokenize texts with the tokenizer of the model `start`, then split or join the texts into blocks of tokens.

    Raise InputError if a pair is longer than a block, if no token in the texts contributes to the loss, or if splitting
    would lose a token.
    """
    bos, remote = start.add_bos_token, options.trust_remote_code
    tokenizer = load_tokenizer(start.folder, trust_remote_code=remote, add_bos_token=bos)
    whole = tokenize(texts, tokenizer, begin=options.begin, special=bos is not False)
    for text, example in zip(texts, whole, strict=True):
        if text.kind == "pair" and len(example) > options.block:
            raise InputError(
                f"passage {text.passage}: the question-answer pair has {len(example)} tokens, but block = "
                f"{options.block} would split the answer from its question; raise block to {len(example)} or more"
            )
    if options.pack == "concatenate":
        examples = join(whole, options.block)
    else:
        examples = [part for example in whole for part in split(example, options.block)]
    wanted, kept = (sum(example.loss_tokens for example in group) for group in (whole, examples))
    if wanted != kept:
        raise InputError(
            f"splitting the text into blocks of {options.block} tokens would lose {wanted - kept} of {wanted} tokens"
        )
    if not wanted:
        raise InputError("the training text contains no token that contributes to the loss")
    return examples


def tokenize(
    texts: Sequence[Text], tokenizer: "PreTrainedTokenizerBase", *, begin: bool | None, special: bool = True
) -> list[Example]:
    """Return one example per text, in the order of the texts; the length of an example is not limited.

    Documents and paraphrases are enclosed in BOS and EOS tokens; all tokens of the text and the EOS token contribute to
    the loss. If `begin` is None, BOS is added only if the model's prompts start with BOS. A question-answer pair
    consists of its prompt (the prompt of an open question if `Text.prompt` is None) and its target; if `special` is
    set, the tokenizer's special tokens precede the prompt. Only the target's tokens and the EOS token contribute to the
    loss. Raise InputError if a text has no tokens or the tokenizer has no EOS token.
    """
    end = end_token(tokenizer)
    bos = int(end if tokenizer.bos_token_id is None else tokenizer.bos_token_id)
    known = bos == end or _prompt_tokens(tokenizer, "a", special=special)[:1] == [bos]
    first = [bos] if begin or (begin is None and known) else []
    plain = _plain_examples(texts, tokenizer, first, end)
    return [
        plain[index] if index in plain else _pair_example(text, tokenizer, end, special=special)
        for index, text in enumerate(texts)
    ]


def end_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id of the end-of-sequence token; raise InputError if the tokenizer has no such token."""
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-sequence token; set `eos_token` in its tokenizer_config.json")
    return int(tokenizer.eos_token_id)


def _plain_examples(
    texts: Sequence[Text], tokenizer: "PreTrainedTokenizerBase", first: list[int], end: int
) -> dict[int, Example]:
    """Return the examples for documents and paraphrases, keyed by their index in `texts`."""
    plain = {index: text for index, text in enumerate(texts) if text.kind != "pair"}
    if not plain:
        return {}
    tokenized = tokenizer([text.text for text in plain.values()], add_special_tokens=False, verbose=False)
    examples = {}
    for (index, text), ids in zip(plain.items(), tokenized["input_ids"], strict=True):
        if not ids:
            raise InputError(
                f"passage {text.passage}: the tokenizer returns no tokens for the {text.kind}; leave out this text"
            )
        tokens = array("i", [*first, *ids, end])
        labels = tokens[:]
        labels[0] = IGNORED
        examples[index] = Example(tokens, labels)
    return examples


def _pair_example(text: Text, tokenizer: "PreTrainedTokenizerBase", end: int, *, special: bool) -> Example:
    """Tokenize and split a question-answer pair as lm-eval does, so that training covers exactly the scored tokens."""
    if not text.answer or not text.answer.strip():
        raise InputError(f"passage {text.passage}: the question {text.text!r} has no answer")
    prompt = text.prompt if text.prompt is not None else ask_question(text.text, (), letters=False)
    target = text.target if text.target is not None else f" {text.answer.strip()}"
    special = special and not _starts_with_bos(tokenizer, prompt)
    prompt_tokens = _prompt_tokens(tokenizer, prompt, special=special)
    tokens = array("i", [*_prompt_tokens(tokenizer, prompt + target, special=special), end])
    if len(tokens) <= len(prompt_tokens) + 1:
        raise InputError(f"passage {text.passage}: the answer {text.answer!r} adds no tokens to its question")
    answer_start = max(1, len(prompt_tokens))
    return Example(tokens, array("i", [IGNORED] * answer_start) + tokens[answer_start:])


def _starts_with_bos(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> bool:
    """Return whether a prompt contains the BOS token as text, as many chat prompts do; lm-eval then adds no token."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return prompt.startswith(str(tokenizer.decode(first)))


def _prompt_tokens(tokenizer: "PreTrainedTokenizerBase", text: str, *, special: bool) -> list[int]:
    """Return the token ids for a prompt, with the tokenizer's special tokens before but not after the prompt."""
    ids: list[int] = list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids


def split(example: Example, block: int) -> Iterator[Example]:
    """Split a training example into parts of at most `block` tokens.

    Each part after the first begins with the last token of the previous part; this token contributes to the loss only
    in the previous part.
    """
    for start in range(0, max(1, len(example) - 1), block - 1):
        tokens, labels = example.tokens[start : start + block], example.labels[start : start + block]
        labels[0] = IGNORED
        yield Example(tokens, labels)


def join(examples: Sequence[Example], block: int) -> list[Example]:
    """Concatenate all examples and split the result into blocks of equal length, except for a shorter last block."""
    tokens, labels = array("i"), array("i")
    for example in examples:
        tokens += example.tokens
        labels += example.labels
    return list(split(Example(tokens, labels), block)) if tokens else []


def sample_examples(examples: Sequence[Example]) -> list[Example]:
    """Return every n-th example, with n chosen so that the sample has about SAMPLE_TOKENS tokens."""
    every = -(-sum(map(len, examples)) // SAMPLE_TOKENS)
    chosen = [example for example in examples[::every] if example.loss_tokens]
    return chosen or [example for example in examples if example.loss_tokens][:1]
