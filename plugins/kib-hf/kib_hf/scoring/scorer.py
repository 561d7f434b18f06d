"""lm-eval's HFLM with every distinct prefix computed once: the same numbers from less work.

This module imports torch and lm-eval at its top, since it extends a class of theirs; it is imported where a model is
loaded, and nowhere else.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix, normalize_gen_kwargs
from lm_eval.models.utils_hf import clear_torch_cache
from torch import Tensor
from transformers.generation.configuration_utils import GenerationMode

from kib.errors import StepError
from kib_hf.scoring.generation_cache import batch_cache
from kib_hf.scoring.model_support import why_plain, why_read_anew
from kib_hf.scoring.prefix_cache import Trunks, byte_size
from kib_hf.scoring.prefix_trees import Row, Sizes, Trunk
from kib_hf.scoring.request_plan import Plan, Tally, Wanted, places
from kib_hf.scoring.row_layout import Layout, chain, lay_out
from kib_hf.scoring.tree_reader import Reader, States

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from numpy.typing import NDArray

__all__ = ["Scorer"]

LOGGER = logging.getLogger(__name__)

ROW = {"cpu": 1024, "cuda": 8192}
"""New tokens of a forward pass by the kind of device."""

TRUNK_BYTES = 2**30
ENCODED = 2048
"""Requests that are tokenised together."""

Answer = tuple[float, bool]
RenderedQuestion = tuple[Row | None, "Mapping[int, Instance]"]
"""Some of a row's requests for text."""


class Scorer(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """Takes HFLM's options; `row_tokens` is the size of a forward pass, `trunk_bytes` what cached prefixes may take.

    `notes` says in sentences what a user should know: a fall-back to HFLM's own way, or that memory ran short.
    """

    def __init__(
        self, *args: Any, row_tokens: int | None = None, trunk_bytes: int = TRUNK_BYTES, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.notes: list[str] = []
        self.read_tokens = 0
        self._plans: dict[str, tuple[Plan, dict[Any, int]]] = {}
        self._limit: int | None = None  # tokens at once, and below prompts, once memory ran out
        self._prompts: int | None = None
        self._passing = 0
        self._prefilled: _Prefilled | None = None
        reason = "it is an encoder-decoder model" if self.backend != "causal" else why_plain(self.model)
        self.plain = reason is not None
        if reason is not None:
            self._note(f"scored prompt by prompt, as lm-eval's hf does: {reason}")
            return
        self._reader = Reader(self.model)
        self._trunks = Trunks(self._keep, trunk_bytes)
        kind = self.device.type if self.device.type in ROW else "cpu"
        row = row_tokens or ROW[kind]
        self._sizes = Sizes(row=row, tree=max(1, row // 8), trunk=trunk_bytes // _token_bytes(self._reader))

    def plan(self, requests: "Sequence[Instance]") -> list[list[int]] | None:
        """The requests' numbers in the batches that are best asked together, in this order; None: any will do.

        A pure function of the list. A batch is a forward pass; neighbours share cached prefixes.
        """
        if self.plain:
            return None
        makers: dict[str, Callable[[Any], list[list[int]]]] = {
            "loglikelihood": self._plan_scores,
            "loglikelihood_rolling": self._plan_rolling,
            "generate_until": self._plan_generation,
        }
        made: list[list[int]] = []
        for kind, make in makers.items():
            numbers = [number for number, request in enumerate(requests) if request.request_type == kind]
            batches = make([requests[number].args for number in numbers]) if numbers else []
            made += [[numbers[place] for place in batch] for batch in batches]
        return made

    def planned(self, kind: str) -> Plan:
        """The plan of the requests of a kind that were planned last; KeyError where none were."""
        return self._plans[kind][0]

    def release(self) -> None:
        """Let the model and all that was computed with it go; nothing can be asked afterwards."""
        self._plans.clear()
        if not self.plain:
            self._trunks.clear()
            del self._trunks, self._reader
        self._model = self.pretrained = None

    # Log-likelihoods

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[Answer]:
        """As HFLM, row by row; requests of a plan in its rows, others in rows of their own."""
        if self.plain or self.enable_thinking:
            answers: list[Answer] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        plan, places_of = self._plan_of("loglikelihood", [request.args for request in requests], self._plan_scores)
        wanted = [places_of[request.args] for request in requests]
        found = self._answers(plan, wanted)
        for request, place in zip(requests, wanted, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, found[place])
        return [found[place] for place in wanted]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **options: Any
    ) -> list[Answer]:
        """As HFLM; its rolling log-likelihoods come through here."""
        if self.plain:
            answers: list[Answer] = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, **options)
            return answers
        plan = Plan((self._wanted(context, continuation) for _, context, continuation in requests), self._sizes)
        found = self._answers(plan, range(len(requests)))
        return [found[place] for place in range(len(requests))]

    def _plan_scores(self, args: Sequence[tuple[str, str]]) -> list[list[int]]:
        plan = Plan(self.encode_pairs(args), self._sizes)
        self._plans["loglikelihood"] = plan, {pair: place for place, pair in enumerate(args)}
        return plan.batches

    def _plan_rolling(self, args: Sequence[tuple[str]]) -> list[list[int]]:
        lengths = [len(self.tok_encode(text)) for (text,) in args]
        batches: list[list[int]] = []
        room = 0
        for place in sorted(range(len(args)), key=lambda place: (-lengths[place], args[place])):
            if not batches or lengths[place] > room:
                batches.append([])
                room = self._sizes.row
            batches[-1].append(place)
            room -= lengths[place]
        return batches

    def _plan_of(
        self, kind: str, keys: Sequence[Any], make: Callable[[Sequence[Any]], Any]
    ) -> tuple[Plan, dict[Any, int]]:
        """The plan that has all these requests: the one made before, else one of these alone."""
        if kind not in self._plans or not all(key in self._plans[kind][1] for key in keys):
            make(list(dict.fromkeys(keys)))
        return self._plans[kind]

    def _answers(self, plan: Plan, requests: Iterable[int]) -> dict[int, Answer]:
        """Answers to requests of a plan, and to all others of their rows."""
        found: dict[int, Answer] = {}
        for row in dict.fromkeys(plan.row_of[request] for request in requests):
            found |= self._row_answers(plan, plan.rows[row])
        return found

    def _row_answers(self, plan: Plan, row: Row) -> dict[int, Answer]:
        """Answers to a row, in halves where memory is short."""
        found: dict[int, Answer] = {}
        waiting = [row]
        while waiting:
            part = waiting.pop()
            cut = plan.grove.halves(part) if self._limit is not None and part.new > self._limit else []
            if cut:
                waiting += reversed(cut)
                continue
            try:
                found |= self._score(plan, part)
            except RuntimeError as error:
                self._shrink(error, len(plan.grove.halves(part)) > 0)
                waiting.append(part)
        return found

    def _score(self, plan: Plan, row: Row) -> dict[int, Answer]:
        requests = plan.requests(row)
        trunk = self._trunks.get(row.trunk)
        layout = lay_out(plan.grove, row)
        where = places(plan, layout, requests)
        tally = Tally(where, self.softmax_dtype)
        with self._passes(len(layout.tokens)):
            self._reader.score(layout, trunk, where.rows, tally.add)
        return dict(zip(requests, tally.answers(), strict=True))

    def _keep(self, trunk: Trunk, before: Sequence[States]) -> States:
        """The states of a trunk, computed in pieces of a row, and in ever smaller ones where memory is short."""
        while True:
            try:
                return self._kept(trunk, before)
            except RuntimeError as error:
                self._shrink(error, can=True)

    def _kept(self, trunk: Trunk, before: Sequence[States]) -> States:
        pieces: list[States] = []
        step = min(self._sizes.row, self._limit or self._sizes.row)
        for start in range(0, len(trunk.tokens), step):
            tokens = trunk.tokens[start : start + step]
            with self._passes(len(tokens)):
                layout = chain(tokens, trunk.depth - len(trunk.tokens) + start)
                pieces.append(self._reader.keep(layout, [*before, *pieces]))
        if len(pieces) == 1:
            return pieces[0]
        joined = {
            layer: tuple(torch.cat([piece[layer][side] for piece in pieces], dim=2) for side in (0, 1))
            for layer in pieces[0]
        }
        return {layer: (keys, values) for layer, (keys, values) in joined.items()}

    def _passes(self, tokens: int) -> torch.autocast:
        """Around a forward pass: counts it, and computes in mixed precision where HFLM was told to."""
        self._passing = tokens
        self.read_tokens += tokens
        mixed = self.mixed_precision_dtype
        return torch.autocast(self.device.type, dtype=mixed, enabled=mixed is not None)

    def _shrink(self, error: RuntimeError, can: bool) -> None:
        """Halve what is read at once after running out of memory; any other error goes on its way."""
        self._make_room(error)
        if not can or self._passing < 2:
            raise StepError(f"out of memory with {self._passing} tokens at once, which cannot be cut") from error
        self._limit = self._passing // 2
        self._note(f"out of memory with {self._passing} tokens at once; went on with {self._limit}")

    def _make_room(self, error: RuntimeError) -> None:
        """Let go of all that can be computed again; any error but a lack of memory goes on its way."""
        if not should_reduce_batch_size(error):
            raise error
        clear_frames(error.__traceback__)  # they hold what the failed pass computed
        self._trunks.clear()
        clear_torch_cache()

    # Generation

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As HFLM, batch by batch; the prompts of a batch are read as a tree, then transformers goes on from there."""
        if self.plain or not all(self._takes_cache(request.args[1]) for request in requests) or self._read_anew:
            answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
            return answers
        keys = [self._prompt_key(request.args) for request in requests]
        plan, places_of = self._plan_of("generate_until", keys, self._plan_prompts)
        found: dict[int, str] = {}
        rows: dict[int | None, list[int]] = {}
        for number, key in enumerate(keys):
            rows.setdefault(plan.row_of.get(places_of[key]), []).append(number)
        for place, numbers in rows.items():
            row = None if place is None else plan.rows[place]
            some = {number: requests[number] for number in numbers}
            found |= self._generated(plan, row, some, disable_tqdm)
        return [found[number] for number in range(len(requests))]

    def _takes_cache(self, settings: Mapping[str, Any]) -> bool:
        """Whether transformers goes on from a cache that it is given: in plain decoding, and not told of its own."""
        config = deepcopy(self.model.generation_config)
        for name, value in settings.items():
            if hasattr(config, name):  # the others are lm-eval's own, as `until`
                setattr(config, name, value)
        plain = config.get_generation_mode() in {GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE}
        # Gemma models are published with "hybrid", of which transformers takes no notice
        own = config.cache_implementation in {None, "hybrid"}
        return plain and own and config.num_return_sequences in {None, 1}

    @cached_property
    def _read_anew(self) -> bool:
        """Whether transformers must read prompts by itself."""
        reason = why_read_anew(self.model)
        if reason is not None:
            self._note(f"generated without reading ahead what prompts share: {reason}")
        return reason is not None

    def _prompt_key(self, args: tuple[str, dict[str, Any]]) -> tuple[str, int]:
        """A prompt and how many of its tokens leave room for the answer."""
        room = self.max_length - int(normalize_gen_kwargs(args[1], self.max_gen_toks)["max_gen_toks"])
        return args[0], max(1, room)

    def _plan_generation(self, args: Sequence[tuple[str, dict[str, Any]]]) -> list[list[int]]:
        asked: dict[tuple[str, int], list[int]] = {}
        for number, arguments in enumerate(args):
            asked.setdefault(self._prompt_key(arguments), []).append(number)
        keys = list(asked)
        return [[number for place in batch for number in asked[keys[place]]] for batch in self._plan_prompts(keys)]

    def _plan_prompts(self, keys: Sequence[tuple[str, int]]) -> list[list[int]]:
        """Plan all but the last token of each prompt; a prompt of one token leaves nothing to plan."""
        encoded = self._encode([text for text, _ in keys])
        prompts = [tokens[-room:] for tokens, (_, room) in zip(encoded, keys, strict=True)]
        planned = [place for place, tokens in enumerate(prompts) if len(tokens) > 1]
        batch = self.batch_size if isinstance(self.batch_size, int) else 1
        sizes = replace(self._sizes, prompts=batch)
        plan = Plan((Wanted(prompts[place][:-1], prompts[place][-1:]) for place in planned), sizes)
        numbers = {keys[place]: number for number, place in enumerate(planned)}
        self._plans["generate_until"] = plan, {key: numbers.get(key, -1) for key in keys}
        rest = [place for place, tokens in enumerate(prompts) if len(tokens) < 2]
        return [[planned[number] for number in batch] for batch in plan.batches] + ([rest] if rest else [])

    def _generated(
        self, plan: Plan, row: Row | None, requests: "Mapping[int, Instance]", disable_tqdm: bool
    ) -> dict[int, str]:
        """What follows the prompts of a row, in halves where memory is short."""
        found: dict[int, str] = {}
        waiting: list[RenderedQuestion] = [(row, requests)]
        while waiting:
            part, some = waiting.pop()
            cut = self._halved(plan, part, some)
            if cut:
                waiting += reversed(cut)
                continue
            try:
                self._prefilled = None if part is None else self._prefill(plan, part)
            except RuntimeError as error:
                self._shrink(error, part is not None and len(plan.grove.halves(part)) > 0)
                waiting.append((part, some))
                continue
            try:
                texts = super().generate_until(list(some.values()), disable_tqdm=disable_tqdm)
                found |= dict(zip(some, texts, strict=True))
            except RuntimeError as error:
                self._shrink_prompts(error, len(some))
                waiting.append((part, some))
            finally:
                self._prefilled = None
        return found

    def _halved(self, plan: Plan, row: Row | None, requests: "Mapping[int, Instance]") -> "list[RenderedQuestion]":
        """A row's prompts as two parts where they were too many before; nothing where they are to be tried."""
        halves = plan.grove.halves(row) if row and self._limit is not None and row.new > self._limit else []
        if halves:
            return [(half, self._those_of(plan, half, requests)) for half in halves]
        if self._prompts is None or len(requests) <= self._prompts:
            return []
        numbers, middle = list(requests), len(requests) // 2
        return [(row, {number: requests[number] for number in part}) for part in (numbers[:middle], numbers[middle:])]

    def _those_of(self, plan: Plan, row: Row, requests: "Mapping[int, Instance]") -> "dict[int, Instance]":
        """The requests whose prompts a row has."""
        places_of, prompts = self._plans["generate_until"][1], set(row.prompts)
        keys = {number: self._prompt_key(request.args) for number, request in requests.items()}
        return {number: requests[number] for number, key in keys.items() if plan.numbers[places_of[key]] in prompts}

    def _shrink_prompts(self, error: RuntimeError, count: int) -> None:
        """Halve how many texts are written at once after running out of memory; other errors go on their way."""
        self._make_room(error)
        if count < 2:
            raise StepError("out of memory while text was generated after one prompt") from error
        self._prompts = count // 2
        self._note(f"out of memory with {count} prompts at once; went on with {self._prompts}")

    def _prefill(self, plan: Plan, row: Row) -> "_Prefilled":
        trunk = self._trunks.get(row.trunk)
        layout = lay_out(plan.grove, row)
        with self._passes(len(layout.tokens)):
            return _Prefilled(plan, layout, self._reader.keep(layout, trunk), trunk)

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: Any) -> Tensor:
        """As HFLM, from the keys and values of the prompts where they were read before."""
        if self._prefilled is not None:
            read = self._prefilled
            prompts = [row[mask.bool()] for row, mask in zip(context, options["attention_mask"], strict=True)]
            numbers = [read.plan.grove.number(prompt[:-1].cpu().numpy()) for prompt in prompts]
            cache = batch_cache(self._reader.config, read.layout, numbers, read.row, read.trunk)
            options["past_key_values"] = cache
        made: Tensor = super()._model_generate(context, max_length, stop, **options)
        return made

    # Tokens

    def encode_pairs(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Wanted]:
        """Contexts and continuations as lm-eval cuts them: `_encode_pair` for many, each distinct text once."""
        remaining = iter(pairs)
        while some := [_moved_spaces(*pair) for pair in islice(remaining, ENCODED)]:
            texts = {text for context, continuation in some if context for text in (context, context + continuation)}
            known = dict(zip(texts, self._encode(list(texts)), strict=True))
            for context, continuation in some:
                if context:
                    first = known[context]
                    yield self._wanted(first, known[context + continuation][len(first) :])
                else:
                    yield self._wanted(*self._without_context(continuation))

    def _without_context(self, continuation: str) -> tuple[list[int], list[int]]:
        tokens = self.tok_encode(continuation, add_special_tokens=False)
        if tokens[:1] == [self.prefix_token_id]:
            return tokens[:1], tokens[1:]
        return [self.prefix_token_id], tokens

    def _wanted(self, context: "Sequence[int] | NDArray[np.int32]", continuation: Any) -> Wanted:
        """What is read and predicted; cut from the left to what the model reads, as lm-eval does."""
        if not 0 < len(continuation) <= self.max_length:
            raise StepError(f"a continuation of {len(continuation)} tokens; expected 1 to {self.max_length}")
        tokens = np.concatenate([context, continuation]).astype(np.int32)
        if len(tokens) > self.max_length + 1:
            LOGGER.warning("a prompt of %d tokens is cut from the left to %d", len(tokens) - 1, self.max_length)
        return Wanted(tokens[-(self.max_length + 1) :][:-1], np.asarray(continuation, dtype=np.int32))

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """As HFLM, but whether a text brings its own BOS token is asked of each, not of the first alone."""
        if self.plain:
            made: tuple[Tensor, Tensor] = super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
            return made
        kept = [{"input_ids": tokens[-(left_truncate_len or 0) :].tolist()} for tokens in self._encode(strings)]
        padded = self.tokenizer.pad(kept, padding_side=padding_side, return_tensors="pt")
        return padded["input_ids"], padded["attention_mask"]

    def _encode(self, texts: Sequence[str]) -> "list[NDArray[np.int32]]":
        """`tok_encode` of each text, many at once."""
        prefix = self.tokenizer.decode(self.prefix_token_id)
        own = {} if self.add_bos_token is None else {"add_special_tokens": self.add_bos_token}
        made: dict[int, NDArray[np.int32]] = {}
        for begun, special in ((False, own), (True, {"add_special_tokens": False})):
            some = [place for place, text in enumerate(texts) if has_bos_prefix(text, prefix) == begun]
            given = [texts[place] for place in some]
            encoded = self.tokenizer(given, verbose=False, **special)["input_ids"] if given else []
            made |= {place: np.array(ids, dtype=np.int32) for place, ids in zip(some, encoded, strict=True)}
        return [made[place] for place in range(len(texts))]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            LOGGER.warning(text)


@dataclass(frozen=True, slots=True)
class _Prefilled:
    """A row of prompts that was read: keys and values of its tokens and of its trunk."""

    plan: Plan
    layout: Layout
    row: States
    trunk: list[States]


def _moved_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at the end of a context belong to the continuation, as in lm-eval."""
    spaces = len(context) - len(context.rstrip()) if context else 0
    return (context[:-spaces], context[-spaces:] + continuation) if spaces else (context, continuation)


def _token_bytes(reader: Reader) -> int:
    """Bytes of a token's keys and values in all layers; no two configurations say so in the same way."""
    return max(1, byte_size(reader.keep(chain(np.zeros(2, dtype=np.int32), 0), [])) // 2)
