"""A subclass of lm-eval's HFLM that computes each distinct prefix only once and returns the same results.

This module imports torch and lm-eval at the top level, because it subclasses HFLM. Import this module only inside
functions that load a model.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor
from transformers.generation.configuration_utils import GenerationMode

from kib.errors import StepError
from kib_hf.scoring.log_likelihoods import Answer
from kib_hf.scoring.model_support import why_no_prefill, why_no_trees
from kib_hf.scoring.prefix_trees import RowLimits, TreeRow, split_row
from kib_hf.scoring.request_encoder import RequestEncoder
from kib_hf.scoring.request_plan import EncodedRequest, RequestPlan
from kib_hf.scoring.row_runner import Prefill, RowRunner

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["Scorer"]

LOGGER = logging.getLogger(__name__)

ROW_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Default number of new tokens per forward pass, by device type."""

PREFIX_BYTES = 2**30
"""Default memory budget for cached prefixes, in bytes."""

Batches = list[list[int]]


class _PromptBatch(NamedTuple):
    """Generation requests, keyed by their indices; `row` is None if the prompts have nothing to prefill."""

    row: TreeRow | None
    requests: "Mapping[int, Instance]"


class Scorer(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """An HFLM that computes each shared prefix once, with two more options: `row_tokens` and `prefix_bytes`.

    `notes` lists sentences for the user, for example about a fallback to HFLM or out-of-memory errors.
    """

    def __init__(
        self, *args: Any, row_tokens: int | None = None, prefix_bytes: int = PREFIX_BYTES, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.notes: list[str] = []
        self._plans: dict[str, tuple[RequestPlan, dict[Any, int]]] = {}
        self._prompt_limit: int | None = None  # maximum number of prompts per batch after memory has run out
        self._prefilled: Prefill | None = None
        self._encoder = RequestEncoder(self)
        reason = "the model is an encoder-decoder model" if self.backend != "causal" else why_no_trees(self.model)
        self.falls_back = reason is not None
        if reason is not None:
            self._note(f"each prompt was scored separately, as in lm-eval's hf: {reason}")
            return
        tokens = row_tokens or ROW_TOKENS.get(self.device.type, ROW_TOKENS["cpu"])
        self._rows = RowRunner(self, tokens, prefix_bytes, self._note)
        self._limits = RowLimits(tokens, max(1, tokens // 8), prefix_bytes // self._rows.token_bytes())

    def plan(self, requests: "Sequence[Instance]") -> Batches | None:
        """Group request indices into batches, in execution order; return None if the order does not matter.

        The plan is a pure function of the requests. A batch is processed in one forward pass, and consecutive batches
        share prefixes.
        """
        if self.falls_back:
            return None
        planners: dict[str, Callable[[Any], Batches]] = {
            "loglikelihood": self._plan_pairs,
            "loglikelihood_rolling": self._plan_rolling,
            "generate_until": self._plan_generation,
        }
        batches: Batches = []
        for kind, planner in planners.items():
            numbers = [number for number, request in enumerate(requests) if request.request_type == kind]
            planned = planner([requests[number].args for number in numbers]) if numbers else []
            batches += [[numbers[index] for index in batch] for batch in planned]
        return batches

    def planned(self, kind: str) -> RequestPlan:
        """Return the latest plan for the given kind of request; raise KeyError if no plan for this kind exists."""
        return self._plans[kind][0]

    def release(self) -> None:
        """Free the model and all cached results; the scorer cannot answer requests afterwards."""
        self._plans.clear()
        if not self.falls_back:
            self._rows.clear()
            del self._rows
        self._model = self.pretrained = None

    # Log-likelihoods

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[Answer]:
        """Compute log-likelihoods row by row, with the same results as HFLM.

        Requests outside the current plan are computed with a new plan.
        """
        if self.falls_back or self.enable_thinking:
            answers: list[Answer] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        plan, index_of = self._plan_for("loglikelihood", [request.args for request in requests], self._plan_pairs)
        indices = [index_of[request.args] for request in requests]
        found = self._answers(plan, indices)
        for request, index in zip(requests, indices, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, found[index])
        return [found[index] for index in indices]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **options: Any
    ) -> list[Answer]:
        """Return the same log-likelihoods of tokens as HFLM, which calls this method for rolling log-likelihoods."""
        if self.falls_back:
            answers: list[Answer] = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, **options)
            return answers
        encoded = (self._encoder.encoded_request(context, continuation) for _, context, continuation in requests)
        plan = RequestPlan(encoded, self._limits)
        found = self._answers(plan, range(len(requests)))
        return [found[index] for index in range(len(requests))]

    def encode_pairs(self, pairs: Iterable[tuple[str, str]]) -> Iterable[EncodedRequest]:
        """Tokenize pairs of a context and a continuation."""
        return self._encoder.encode_pairs(pairs)

    def _plan_pairs(self, pairs: Sequence[tuple[str, str]]) -> Batches:
        plan = RequestPlan(self.encode_pairs(pairs), self._limits)
        self._plans["loglikelihood"] = plan, {pair: index for index, pair in enumerate(pairs)}
        return plan.batches

    def _plan_rolling(self, args: Sequence[tuple[str]]) -> Batches:
        lengths = [len(self.tok_encode(text)) for (text,) in args]
        batches: Batches = []
        room = 0
        for index in sorted(range(len(args)), key=lambda index: (-lengths[index], args[index])):
            if not batches or lengths[index] > room:
                batches.append([])
                room = self._limits.row_tokens
            batches[-1].append(index)
            room -= lengths[index]
        return batches

    def _plan_for(
        self, kind: str, keys: Sequence[Any], planner: Callable[[Sequence[Any]], Any]
    ) -> tuple[RequestPlan, dict[Any, int]]:
        """Return the latest plan if it contains all given requests, otherwise a new plan for the given requests."""
        if kind not in self._plans or not all(key in self._plans[kind][1] for key in keys):
            planner(list(dict.fromkeys(keys)))
        return self._plans[kind]

    def _answers(self, plan: RequestPlan, requests: Iterable[int]) -> dict[int, Answer]:
        """Return the answers to the given requests and to all other requests in the same rows."""
        found: dict[int, Answer] = {}
        for row in dict.fromkeys(plan.row_of[request] for request in requests):
            found |= self._rows.answers(plan, plan.rows[row])
        return found

    # Generation

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Generate the same text as HFLM, but first compute the prompts' keys and values with prefix trees."""
        if (
            self.falls_back
            or not all(self._continues_from_cache(request.args[1]) for request in requests)
            or not self._can_prefill
        ):
            answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
            return answers
        keys = [self._prompt_key(request.args) for request in requests]
        plan, index_of = self._plan_for("generate_until", keys, self._plan_prompts)
        found: dict[int, str] = {}
        rows: dict[int | None, list[int]] = {}
        for number, key in enumerate(keys):
            rows.setdefault(plan.row_of.get(index_of[key]), []).append(number)
        for row, numbers in rows.items():
            batch = _PromptBatch(
                None if row is None else plan.rows[row], {number: requests[number] for number in numbers}
            )
            found |= self._generated(plan, batch, disable_tqdm)
        return [found[number] for number in range(len(requests))]

    def _continues_from_cache(self, options: Mapping[str, Any]) -> bool:
        """Return whether transformers accepts a precomputed cache for the given generation options."""
        config = deepcopy(self.model.generation_config)
        for name, value in options.items():
            if hasattr(config, name):  # other options are lm-eval's own, such as `until`
                setattr(config, name, value)
        plain = config.get_generation_mode() in {GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE}
        # Gemma models are published with the value "hybrid", which transformers ignores
        default = config.cache_implementation in {None, "hybrid"}
        return plain and default and config.num_return_sequences in {None, 1}

    @cached_property
    def _can_prefill(self) -> bool:
        reason = why_no_prefill(self.model)
        if reason is not None:
            self._note(f"text was generated without shared prefixes: {reason}")
        return reason is None

    def _prompt_key(self, args: tuple[str, dict[str, Any]]) -> tuple[str, int]:
        """Return a prompt and the number of its last tokens to keep, so that the answer fits in the context."""
        room = self.max_length - int(normalize_gen_kwargs(args[1], self.max_gen_toks)["max_gen_toks"])
        return args[0], max(1, room)

    def _plan_generation(self, args: Sequence[tuple[str, dict[str, Any]]]) -> Batches:
        numbers_of: dict[tuple[str, int], list[int]] = {}
        for number, arguments in enumerate(args):
            numbers_of.setdefault(self._prompt_key(arguments), []).append(number)
        keys = list(numbers_of)
        return [[number for index in batch for number in numbers_of[keys[index]]] for batch in self._plan_prompts(keys)]

    def _plan_prompts(self, keys: Sequence[tuple[str, int]]) -> Batches:
        """Plan the prefill, which covers all but the last prompt token; prompts of one token form the last batch."""
        encoded = self._encoder.encode_texts([text for text, _ in keys])
        prompts = [tokens[-room:] for tokens, (_, room) in zip(encoded, keys, strict=True)]
        planned = [index for index, tokens in enumerate(prompts) if len(tokens) > 1]
        single = [index for index, tokens in enumerate(prompts) if len(tokens) < 2]
        limits = replace(self._limits, prompts=self.batch_size if isinstance(self.batch_size, int) else 1)
        requests = (EncodedRequest(prompts[index][:-1], prompts[index][-1:]) for index in planned)
        plan = RequestPlan(requests, limits)
        request_of = {keys[index]: request for request, index in enumerate(planned)}
        self._plans["generate_until"] = plan, {key: request_of.get(key, -1) for key in keys}
        batches = [[planned[request] for request in batch] for batch in plan.batches]
        return [*batches, single] if single else batches

    def _generated(self, plan: RequestPlan, batch: _PromptBatch, disable_tqdm: bool) -> dict[int, str]:
        """Return the generated text for each prompt in a batch; reduce the batch size if memory runs out."""
        found: dict[int, str] = {}
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            if parts := self._split_batch(plan, part):
                waiting += reversed(parts)
                continue
            try:
                self._prefilled = self._rows.prefill(plan, part.row) if part.row else None
            except RuntimeError as error:
                self._rows.lower_limit(
                    error, can_split=part.row is not None and bool(split_row(plan.prompts, part.row))
                )
                waiting.append(part)
                continue
            try:
                texts = super().generate_until(list(part.requests.values()), disable_tqdm=disable_tqdm)
                found |= dict(zip(part.requests, texts, strict=True))
            except RuntimeError as error:
                self._lower_prompt_limit(error, len(part.requests))
                waiting.append(part)
            finally:
                self._prefilled = None
        return found

    def _split_batch(self, plan: RequestPlan, batch: _PromptBatch) -> list[_PromptBatch]:
        """Split a batch into smaller batches if it exceeds the token limit or the prompt limit.

        Return an empty list if the batch is small enough.
        """
        row, requests = batch
        halves = self._rows.halves(plan, row) if row else []
        if halves:
            return [_PromptBatch(half, self._requests_in(plan, half, requests)) for half in halves]
        if self._prompt_limit is None or len(requests) <= self._prompt_limit:
            return []
        numbers, middle = list(requests), len(requests) // 2
        parts = (numbers[:middle], numbers[middle:])
        return [_PromptBatch(row, {number: requests[number] for number in part}) for part in parts]

    def _requests_in(
        self, plan: RequestPlan, row: TreeRow, requests: "Mapping[int, Instance]"
    ) -> "dict[int, Instance]":
        """Return the generation requests that have their prompts in the given row."""
        index_of, prompts = self._plans["generate_until"][1], set(row.prompts)
        keys = {number: self._prompt_key(request.args) for number, request in requests.items()}
        return {number: requests[number] for number, key in keys.items() if plan.prompt_of[index_of[key]] in prompts}

    def _lower_prompt_limit(self, error: RuntimeError, count: int) -> None:
        """Halve the number of prompts per batch after an out-of-memory error; re-raise any other error."""
        self._rows.free_memory(error)
        if count < 2:
            raise StepError("out of memory while generating text for a single prompt") from error
        self._prompt_limit = count // 2
        self._note(f"out of memory with {count} prompts per batch; generation continued with {self._prompt_limit}")

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: Any) -> Tensor:
        """Generate text as HFLM does, starting from the prompts' cache if the prompts were prefilled."""
        if self._prefilled is not None:
            prompts = [row[mask.bool()][:-1] for row, mask in zip(context, options["attention_mask"], strict=True)]
            options["past_key_values"] = self._prefilled.cache_for(prompts, self._rows.reader.config)
        tokens: Tensor = super()._model_generate(context, max_length, stop, **options)
        return tokens

    # Tokens and notes

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Encode texts as HFLM does, but check every text for an explicit BOS token, not only the first text."""
        if self.falls_back:
            tokens: tuple[Tensor, Tensor] = super().tok_batch_encode(
                strings, padding_side, left_truncate_len, truncation
            )
            return tokens
        encoded = self._encoder.encode_texts(strings)
        truncated = [{"input_ids": tokens[-(left_truncate_len or 0) :].tolist()} for tokens in encoded]
        padded = self.tokenizer.pad(truncated, padding_side=padding_side, return_tensors="pt")
        return padded["input_ids"], padded["attention_mask"]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            LOGGER.warning(text)
