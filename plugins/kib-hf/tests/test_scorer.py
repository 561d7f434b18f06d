import gc
import random
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kib.errors import StepError
from kib.harness.backends import free, notes
from kib.harness.requests import answer, batches
from kib.records import Request
from kib_hf.loading import load_tokenizer, quietly

pytestmark = pytest.mark.usefixtures("one_thread", "quick_collection")

slow = pytest.mark.slow

LENGTH = 400
SHAPE: dict[str, Any] = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1, "initializer_range": 0.2,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 11},
    "mixtral": {"sliding_window": None, "num_local_experts": 4, "head_dim": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 11, "max_window_layers": 1},
    "qwen3": {"head_dim": 8},
    "phi3": {},
    "gemma2": {"head_dim": 8, "sliding_window": 11, "final_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 8, "sliding_window": 11, "sliding_window_pattern": 2},
    "gemma4_text": {"head_dim": 8, "global_head_dim": 16, "sliding_window": 11, "hidden_size_per_layer_input": 0},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": LENGTH, "attn_pdrop": 0.1},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5},
    "cohere": {"logit_scale": 0.3},
}
TYPICAL = ("llama", "gemma3_text", "gpt2")
"""Architectures with full attention, with sliding windows in some layers, and with learned position embeddings."""
WORDS = ("the ", "cat ", "sat", " on", "\n\n", "Answer:", " é", "0 ", "Question: ", "a")


def fresh(kind: str, *, attention: str | None = None, **shape: Any) -> Any:
    """Create a model with random weights for a test that modifies the model."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(7)
    with quietly():
        config = AutoConfig.for_model(kind, **(SHAPE | ARCHITECTURES.get(kind, {}) | shape))
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@cache
def model(kind: str) -> Any:
    """Return a model with the given architecture, which is cached and shared by the tests."""
    return fresh(kind, attention="eager" if kind == "gemma2" else None)


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    """A tokenizer that produces one token per byte of a text."""
    return load_tokenizer(tiny, trust_remote_code=False, add_bos_token=None)


@pytest.fixture(scope="module")
def hflm(tokenizer: Any) -> Callable[..., Any]:
    """Return a function that wraps a model in lm-eval's HFLM."""
    from lm_eval.models.huggingface import HFLM

    def hflm(model: Any, **options: Any) -> Any:
        with quietly():
            return HFLM(model, tokenizer=tokenizer, batch_size=4, max_length=LENGTH, **options)

    return hflm


@pytest.fixture(scope="module")
def scorer(tokenizer: Any) -> Callable[..., Any]:
    """Return a function that wraps a model in kib's `Scorer`."""
    from kib_hf.scoring.scorer import Scorer

    def scorer(model: Any, **options: Any) -> Any:
        with quietly():
            return Scorer(model, tokenizer=tokenizer, batch_size=4, max_length=LENGTH, **options)

    return scorer


@pytest.fixture(scope="module")
def assert_same(near: Callable[[float, str], Any]) -> Callable[..., None]:
    """Return a function that asserts that log-likelihoods are equal up to rounding, and greedy flags are equal."""

    def assert_same(requests: Sequence[Request], found: Sequence[Any], expected: Sequence[Any]) -> None:
        for request, (value, greedy), (expected_value, expected_greedy) in zip(requests, found, expected, strict=True):
            assert value == near(expected_value, request.arguments[1]), request
            assert greedy == expected_greedy, request

    return assert_same


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - it chooses words


def text(draw: random.Random, longest: int) -> str:
    return "".join(draw.choice(WORDS) for _ in range(draw.randint(1, longest)))


def tree(seed: int, size: int = 10) -> list[Request]:
    """Return requests with nested contexts, one to four continuations per context, and some edge cases."""
    draw = chance(seed)
    contexts = [text(draw, 12)]
    for _ in range(size):
        contexts.append(draw.choice(contexts) + text(draw, 8))
    pairs = [(context, " " + text(draw, 3)) for context in contexts for _ in range(draw.randint(1, 4))]
    unusual = [("", "x"), ("", "<s>cat"), ("<s>a", " b"), (contexts[0] + "  ", "c"), (contexts[1], contexts[2])]
    long = [("word " * 90, " D"), ("word " * 90, " DE")]  # truncated on the left
    return [Request("loglikelihood", pair) for pair in dict.fromkeys([*pairs, *unusual, *long])]


def greedy_requests(lm: Any, size: int = 40) -> list[Request]:
    """Return requests whose continuation is the greedy next character, if its logit clearly exceeds all others."""
    contexts = [f"{number} {text(chance(number), 5)}:" for number in range(size)]
    found = []
    for context in contexts:
        best = lm.model(torch.tensor([lm.tok_encode(context)])).logits[0, -1].topk(2)
        character = lm.tokenizer.decode(best.indices[:1])
        is_text = len(character) == 1 and character.isascii() and character.isprintable()
        if is_text and best.values[0] - best.values[1] > 0.01:
            found.append(Request("loglikelihood", (context, character)))
    return found


@pytest.fixture(scope="module")
def greedy_margin(tokenizer: Any) -> Callable[..., float]:
    """Return the smallest difference between the logits of the best and the second best token during generation."""

    def greedy_margin(model: Any, prompt: str) -> float:
        tokens = tokenizer.encode(prompt, add_special_tokens=prompt != "<s>")[9 - LENGTH :]
        with quietly():
            generated = model.generate(
                torch.tensor([tokens]),
                max_new_tokens=9,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        best, second = torch.cat(generated.logits).topk(2).values.T
        return float((best - second).min())

    return greedy_margin


@pytest.fixture(scope="module")
def clear_prompts(greedy_margin: Callable[..., float]) -> Callable[[str], list[str]]:
    """A function that returns prompts with shared prefixes, for which rounding does not change the greedy text.

    The first prompt is only a BOS token, and the last prompt exceeds the model's context length.
    """

    @cache
    def clear_prompts(kind: str) -> list[str]:
        draw, prompts = chance(4), ["the "]
        for _ in range(5):
            prompts.append(draw.choice(prompts) + text(draw, 6))
        return [prompt for prompt in ["<s>", *prompts, "word " * 90] if greedy_margin(model(kind), prompt) > 1e-3]

    return clear_prompts


def all_answers(lm: Any, requests: Sequence[Request], planner: Any = None) -> list[Any]:
    """Answer requests as a benchmark run does, in batches planned by `planner` or, by default, by `lm`."""
    found = {}
    for batch in batches(requests, planner or lm):
        found |= dict(zip(map(str, batch), answer(lm, batch), strict=True))
    return [found[str(request)] for request in requests]


def generation(prompts: Sequence[str], tokens: int = 9, **options: Any) -> list[Request]:
    """Return requests to generate text after each prompt."""
    return [
        Request("generate_until", (prompt, {"until": ["a"], "max_gen_toks": tokens, **options})) for prompt in prompts
    ]


# Log-likelihoods


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in TYPICAL else slow) for kind in ARCHITECTURES])
def test_log_likelihoods_equal_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None], kind: str
) -> None:
    """Log-likelihoods and greedy flags equal HFLM's, regardless of the number of tokens per forward pass."""
    reference = hflm(model(kind))
    requests = [*tree(seed=1), *greedy_requests(reference)]
    expected = answer(reference, requests)
    assert {greedy for _, greedy in expected} == {False, True}
    for row_tokens in (16, 64, 2000):
        lm = scorer(model(kind), row_tokens=row_tokens)
        assert not lm.falls_back
        assert_same(requests, all_answers(lm, requests), expected)


@slow
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("kind", TYPICAL)
def test_log_likelihoods_of_other_trees(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None], kind: str, seed: int
) -> None:
    """Log-likelihoods equal HFLM's for any tree of shared prefixes."""
    requests = tree(seed)
    lm = scorer(model(kind), row_tokens=chance(seed).choice([16, 50, 300]))
    assert_same(requests, all_answers(lm, requests), answer(hflm(model(kind)), requests))


def test_the_attention_of_the_model_is_used(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    """A model loaded with eager attention is scored with eager attention and retains this setting afterwards."""
    eager, requests = fresh("llama", attention="eager"), tree(seed=2, size=4)
    lm = scorer(eager, row_tokens=50)
    assert_same(requests, all_answers(lm, requests), answer(hflm(eager), requests))
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", ["llama", pytest.param("gemma3_text", marks=slow), pytest.param("gpt2", marks=slow)])
@pytest.mark.parametrize("softmax", [None, "float32"])
def test_half_precision_is_as_accurate_as_in_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], kind: str, softmax: str | None
) -> None:
    """In bfloat16, the error of the log-likelihoods is less than three times the error of HFLM's log-likelihoods."""
    half, requests = deepcopy(model(kind)).to(torch.bfloat16), tree(seed=1)
    exact = deepcopy(half).float()
    expected = np.array([value for value, _ in answer(hflm(exact), requests)])

    def error(answers: Sequence[Any]) -> float:
        return float(np.sqrt(np.mean((np.array([value for value, _ in answers]) - expected) ** 2)))

    found = all_answers(scorer(half, softmax_dtype=softmax), requests)
    assert 0 < error(found) < 3 * error(answer(hflm(half, softmax_dtype=softmax), requests))


def adapted(kind: str, config: Any) -> Any:
    """Add an adapter with random weights to a model."""
    from peft import get_peft_model

    torch.manual_seed(3)
    with quietly():
        return get_peft_model(fresh(kind), config).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_adapters_change_the_scores(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None], kind: str
) -> None:
    """The scores of a model with a LoRA adapter include the effect of the adapter."""
    from peft import LoraConfig

    requests = tree(seed=2, size=4)
    lora = adapted(kind, LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False))
    lm = scorer(lora, row_tokens=64)
    assert not lm.falls_back
    found = all_answers(lm, requests)
    assert_same(requests, found, answer(hflm(lora), requests))
    with lora.disable_adapter():
        without = answer(hflm(lora), requests)
    assert max(abs(one[0] - other[0]) for one, other in zip(without, found, strict=True)) > 0.01


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rolling_log_likelihoods_equal_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], near: Callable[[float, str], Any], kind: str
) -> None:
    """Texts longer or shorter than the model's context length have the same log-likelihoods as in HFLM."""
    texts = [text(chance(seed), longest) for seed, longest in enumerate((400, 30, 400, 10))]
    assert max(map(len, texts)) > LENGTH > min(map(len, texts))
    requests = [Request("loglikelihood_rolling", (one,)) for one in texts]
    found = all_answers(scorer(model(kind), row_tokens=100), requests)
    for one, value, expected in zip(texts, found, answer(hflm(model(kind)), requests), strict=True):
        assert value == near(expected, one)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_sliding_window_matters_only_if_the_code_uses_it(
    hflm: Callable[..., Any],
    scorer: Callable[..., Any],
    assert_same: Callable[..., None],
    greedy_margin: Callable[..., float],
    kind: str,
) -> None:
    """A sliding window in the configuration affects scores and text only if the model's code uses the window."""
    windowed, requests = fresh(kind), tree(seed=3, size=4)
    windowed.config.sliding_window = 20
    lm, reference = scorer(windowed, row_tokens=64), hflm(windowed)
    assert lm._rows.reader.window == (20 if kind == "mistral" else None)
    assert_same(requests, all_answers(lm, requests), answer(reference, requests))
    prompt = "the cat sat " * 4
    assert greedy_margin(windowed, prompt) > 1e-3
    assert all_answers(lm, generation([prompt])) == answer(reference, generation([prompt]))


def test_requests_without_a_plan(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    """Requests that lm-eval passes without a plan are planned by the scorer and answered in the given order."""
    requests = tree(seed=5)
    assert_same(requests, answer(scorer(model("llama")), requests), answer(hflm(model("llama")), requests))


def test_batches_are_a_function_of_the_list(scorer: Callable[..., Any]) -> None:
    """Batches, and the bytes of the answers, depend neither on the order of the requests nor on earlier requests."""
    requests, shuffled = tree(seed=6, size=30), tree(seed=6, size=30)
    chance(1).shuffle(shuffled)
    first, second = (scorer(model("llama"), row_tokens=64) for _ in range(2))
    all_answers(second, tree(seed=7, size=4))
    assert batches(requests, first) == batches(shuffled, second)
    assert [sorted(map(str, batch)) for batch in batches(requests, first)] != [sorted(map(str, requests))]
    assert all_answers(first, requests) == all_answers(second, requests)


def test_a_resumed_run_gives_the_same_bytes(scorer: Callable[..., Any]) -> None:
    """A resumed run returns bit-identical answers for a batch, even if it skips the preceding batches."""
    requests = tree(seed=8, size=30)
    whole, resumed = (scorer(model("llama"), row_tokens=64) for _ in range(2))
    expected = [answer(whole, batch) for batch in batches(requests, whole)]
    assert len(expected) > 5
    planned = batches(requests, resumed)
    for number in reversed(range(len(planned))):
        assert answer(resumed, planned[number]) == expected[number]


def test_shared_passages_are_read_once(scorer: Callable[..., Any]) -> None:
    """Scoring six prompts with shared passages processes only slightly more tokens than scoring the longest prompt."""
    passages = [f"Passage {number}. " + "text " * 12 for number in range(5)]
    contexts = ["".join(passages[:k]) + "Question?" for k in range(6)]
    requests = [
        Request("loglikelihood", (context, option)) for context in contexts for option in (" one", " two", " other")
    ]
    lm = scorer(model("llama"))
    all_answers(lm, requests)
    planned = sum(row.new_tokens for row in lm.planned("loglikelihood").rows)
    assert lm._rows.read_tokens == planned < len(contexts[-1]) + 10 + 6 * 25


def test_an_empty_continuation_is_an_error(scorer: Callable[..., Any]) -> None:
    """A log-likelihood request with an empty continuation raises an error."""
    with pytest.raises(StepError, match="a continuation consists of 0 tokens; expected 1 to 400"):
        all_answers(scorer(model("llama")), [Request("loglikelihood", ("a", ""))])


def test_a_released_model_frees_its_memory(scorer: Callable[..., Any]) -> None:
    """After `release`, no object in the scorer holds a reference to the weights."""
    released = fresh("llama")
    lm, reference = scorer(released, row_tokens=64), weakref.ref(released)
    all_answers(lm, tree(seed=1, size=2))
    free(lm)
    del released
    gc.collect()
    assert reference() is None


# Generation


@pytest.mark.parametrize(
    "kind", [*TYPICAL, *(pytest.param(kind, marks=slow) for kind in ("mistral", "qwen2", "gemma4_text"))]
)
def test_generated_text_equals_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], clear_prompts: Callable[[str], list[str]], kind: str
) -> None:
    """Greedy generation stops where HFLM stops: at a stop sequence, an end-of-text token or the maximum length."""
    prompts = clear_prompts(kind)
    assert len(prompts) > 3
    assert len(prompts[-1]) > LENGTH
    requests = [*generation(prompts, until=["a", "\n\n"]), *generation(prompts[1:2], tokens=3, until=[])]
    lm, reference = scorer(model(kind), row_tokens=64), hflm(model(kind))
    # HFLM looks for a BOS token in the first text of a batch only, so "<s>" is a batch of its own
    expected = [*answer(reference, requests[:1]), *answer(reference, requests[1:])]
    assert all_answers(lm, requests) == expected
    assert answer(lm, requests[:3]) == expected[:3]
    assert not notes(lm)


LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 6, "first_k_dense_replace": 3,
}  # fmt: skip


def test_a_model_with_an_unusual_cache_generates_as_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    """A model whose cached keys differ from its attention keys shares prefixes for scoring, but not for generation."""
    latent, requests = fresh("deepseek_v3", **LATENT), tree(seed=3, size=4)
    lm, reference = scorer(latent, row_tokens=64), hflm(latent)
    assert_same(requests, all_answers(lm, requests), answer(reference, requests))
    assert not notes(lm)
    generated = generation(["the cat", "on it"])
    assert all_answers(lm, generated) == all_answers(reference, generated, planner=lm)
    assert "text was generated without shared prefixes" in notes(lm)[0]


@pytest.mark.parametrize("setting", [{"num_beams": 2}, {"cache_implementation": "static"}])
@pytest.mark.parametrize("source", ["request", "folder"])
def test_other_generation_modes_equal_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], setting: dict[str, Any], source: str
) -> None:
    """If a task or a model folder requests beam search or a static cache, the generated text equals HFLM's."""
    llama = fresh("llama")
    if source == "folder":
        llama.generation_config.update(**setting)
    requests = generation(["the cat", "the dog sat"], tokens=5, **(setting if source == "request" else {}))
    lm = scorer(llama)
    assert all_answers(lm, requests) == all_answers(hflm(llama), requests, planner=lm)


def test_speculative_decoding_equals_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], clear_prompts: Callable[[str], list[str]]
) -> None:
    """Prompt lookup decoding, which guesses tokens from the prompt, generates the same text as plain decoding."""
    lm, prompt = scorer(model("llama")), clear_prompts("llama")[-2:-1]
    plain, speculative = generation(prompt), generation(prompt, prompt_lookup_num_tokens=3)
    assert answer(lm, speculative) == answer(lm, plain) == answer(hflm(model("llama")), speculative)


# Out of memory


def limit_memory(monkeypatch: pytest.MonkeyPatch, limited: Any, tokens: int) -> None:
    """Make a model run out of memory if a forward pass has more than the given number of tokens."""
    original = limited.forward

    @wraps(original)  # transformers reads the signature
    def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
        if input_ids.numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return original(input_ids, *args, **options)

    monkeypatch.setattr(limited, "forward", forward)


def test_less_memory_halves_the_forward_pass(
    hflm: Callable[..., Any],
    scorer: Callable[..., Any],
    assert_same: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If memory runs out, the scorer halves the tokens per forward pass, returns the same results and adds a note."""
    requests = [request for request in tree(seed=9, size=16) if len("".join(request.arguments)) < 80]
    expected = answer(hflm(model("llama")), requests)
    lm = scorer(model("llama"), row_tokens=1000)
    limit_memory(monkeypatch, model("llama"), 100)
    assert_same(requests, all_answers(lm, requests), expected)
    assert notes(lm)
    assert all(note.startswith("out of memory with ") for note in notes(lm))


def test_generation_continues_with_less_memory(
    hflm: Callable[..., Any],
    scorer: Callable[..., Any],
    clear_prompts: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If memory runs out during the prefill, generation continues with fewer prompts per batch."""
    requests = generation(clear_prompts("llama")[1:-1], tokens=4)
    reference, lm = hflm(model("llama")), scorer(model("llama"), row_tokens=1000)
    expected = answer(reference, requests)
    limit_memory(monkeypatch, model("llama"), 15)
    assert all_answers(lm, requests) == expected
    assert notes(lm)


def test_a_long_shared_prefix_is_read_in_chunks(
    hflm: Callable[..., Any],
    scorer: Callable[..., Any],
    assert_same: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If memory runs out while a shared prefix is computed, the prefix is processed in smaller chunks."""
    requests = [Request("loglikelihood", ("word " * 40, letter * 10)) for letter in "abcdefgh"]
    expected = answer(hflm(model("llama")), requests)
    lm = scorer(model("llama"), row_tokens=20)
    limit_memory(monkeypatch, model("llama"), 15)
    assert_same(requests, all_answers(lm, requests), expected)
    assert notes(lm)


def test_less_memory_reduces_the_prompts_per_batch(
    hflm: Callable[..., Any],
    scorer: Callable[..., Any],
    clear_prompts: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If memory runs out during generation, the number of prompts per batch is reduced, even for short prompts."""
    from lm_eval.models.huggingface import HFLM

    requests = generation(clear_prompts("llama")[1:5], tokens=4)
    reference, lm = hflm(model("llama")), scorer(model("llama"))
    expected = answer(reference, requests)
    original = HFLM._model_generate

    def generate(lm: Any, context: Any, *args: Any, **options: Any) -> Any:
        if len(context) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return original(lm, context, *args, **options)

    monkeypatch.setattr(HFLM, "_model_generate", generate)
    assert all_answers(lm, requests) == expected
    assert notes(lm)[0] == "out of memory with 4 prompts per batch; generation continued with 2"


def test_a_size_that_failed_is_not_tried_again(scorer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """After memory has run out once, later batches are not larger than the reduced batch size."""
    draw = chance(2)
    requests = generation([f"{number} {text(draw, 8)}" for number in range(24)], tokens=1)
    lm = scorer(model("llama"), row_tokens=1000)
    limit_memory(monkeypatch, model("llama"), 60)
    all_answers(lm, requests)
    assert 1 <= len(notes(lm)) <= 4


def test_a_failed_pass_frees_its_memory(scorer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of a forward pass that ran out of memory are freed before torch's memory cache is emptied."""
    from kib_hf.scoring import row_runner

    original, failed, alive = model("llama").forward, [], []

    @wraps(original)
    def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
        if input_ids.numel() > 60:
            large = torch.empty(1000)
            failed.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return original(input_ids, *args, **options)

    lm = scorer(model("llama"), row_tokens=1000)
    monkeypatch.setattr(model("llama"), "forward", forward)
    monkeypatch.setattr(row_runner, "clear_torch_cache", lambda: alive.extend(one() is not None for one in failed))
    contexts = [f"{number} " + "word " * 8 for number in range(4)]
    all_answers(lm, generation(contexts, tokens=1))
    all_answers(lm, [Request("loglikelihood", (context, " x")) for context in contexts])
    assert alive
    assert not any(alive)


def test_no_pass_reads_more_than_a_row(scorer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass processes at most `row_tokens` tokens, regardless of the length of the shared prefix."""
    original, sizes = model("llama").forward, []

    @wraps(original)
    def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
        sizes.append(input_ids.numel())
        return original(input_ids, *args, **options)

    contexts = ["word " * 60, "word " * 60 + "other " * 40]
    lm = scorer(model("llama"), row_tokens=64)
    monkeypatch.setattr(model("llama"), "forward", forward)
    all_answers(lm, [Request("loglikelihood", (context, letter * 3)) for context in contexts for letter in "abcd"])
    assert sum(sizes) > 300
    assert max(sizes) <= 64


def test_too_little_memory_for_one_prompt_is_an_error(
    scorer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If memory runs out and the batch cannot be split further, the step fails with a one-sentence error."""
    lm = scorer(model("llama"))
    assert lm._can_prefill
    limit_memory(monkeypatch, model("llama"), 1)
    with pytest.raises(StepError, match=r"out of memory with \d+ tokens in a forward pass that cannot be split"):
        all_answers(lm, [Request("loglikelihood", ("a", "bcdefg"))])
    limit_memory(monkeypatch, model("llama"), 0)
    with pytest.raises(StepError, match="out of memory while generating text for a single prompt"):
        all_answers(lm, generation(["<s>"]))


@pytest.mark.parametrize("request_", [tree(seed=1)[0], *generation(["the cat"])], ids=["score", "generate"])
def test_other_errors_are_raised(
    scorer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    """Errors other than out-of-memory errors are raised unchanged."""
    lm = scorer(model("llama"))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the size of tensor a must match")

    monkeypatch.setattr(model("llama"), "forward", fail)
    with pytest.raises(RuntimeError, match="the size of tensor a"):
        all_answers(lm, [request_])


# Models that cannot share prefixes


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": ({"num_hidden_layers": 2}, "the model has a recurrent state"),
    "bloom": ({"n_layer": 2, "n_head": 4}, "the model's attention function cannot be replaced"),
    "llama4_text": ({"num_hidden_layers": 4, "head_dim": 8, "attention_chunk_size": 16}, "layers of unsupported types"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_models_are_scored_as_in_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None], kind: str
) -> None:
    """A model with a cache that cannot be shared returns the same results as HFLM, and a note states the reason."""
    shape, reason = UNSUPPORTED[kind]
    unsupported = fresh(kind, **shape)
    lm, reference = scorer(unsupported), hflm(unsupported)
    assert lm.falls_back
    requests = tree(seed=1, size=2)
    assert_same(requests, all_answers(lm, requests), all_answers(reference, requests))
    for others in (generation(["the cat"], tokens=3), [Request("loglikelihood_rolling", ("the cat sat",))]):
        assert all_answers(lm, others) == all_answers(reference, others)
    assert notes(lm)[0].startswith("each prompt was scored separately, as in lm-eval's hf: ")
    assert reason in notes(lm)[0]


def test_encoder_decoder_models_are_scored_as_in_lm_eval(
    hflm: Callable[..., Any], scorer: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    """An encoder-decoder model is scored without shared prefixes and returns the same results as HFLM."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=258, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    t5, requests = T5ForConditionalGeneration(config).eval(), tree(seed=1, size=2)
    lm = scorer(t5)
    assert "encoder-decoder" in notes(lm)[0]
    assert_same(requests, all_answers(lm, requests), all_answers(hflm(t5), requests))


def test_adapters_that_add_tokens_are_unsupported(scorer: Callable[..., Any]) -> None:
    """A model with an adapter that inserts its own tokens before each prompt is scored prompt by prompt."""
    from peft import PromptTuningConfig

    lm = scorer(adapted("llama", PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)))
    assert "the model's adapter prepends its own tokens to each prompt" in notes(lm)[0]


def test_adapters_activated_by_tokens_are_unsupported(scorer: Callable[..., Any]) -> None:
    """A model with an adapter that is activated by a token sequence is scored prompt by prompt."""
    from peft import LoraConfig

    waiting = LoraConfig(task_type="CAUSAL_LM", r=4, alora_invocation_tokens=[3, 4], target_modules=["q_proj"])
    lm = scorer(adapted("llama", waiting))
    assert "takes effect only after a certain sequence of tokens" in notes(lm)[0]


def broken_attention(*_: Any) -> None:
    raise IndexError("no such layer")


@pytest.mark.parametrize(
    ("method", "replacement", "reason"),
    [
        (
            "_mask",
            lambda *_: None,
            "the logits of a small prefix tree differ from the logits of the same prompts computed separately",
        ),
        ("attend", broken_attention, "the model cannot read a prefix tree (IndexError: no such layer)"),
    ],
)
def test_models_that_fail_on_a_small_tree_are_scored_as_in_lm_eval(
    scorer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    replacement: Callable[..., None],
    reason: str,
) -> None:
    """A model that fails on a small prefix tree, or returns incorrect logits for it, is scored prompt by prompt."""
    from kib_hf.scoring import tree_reader

    monkeypatch.setattr(tree_reader._ForwardPass, method, replacement)
    lm = scorer(model("llama"))
    assert lm.falls_back
    assert notes(lm)[0].endswith(reason)
