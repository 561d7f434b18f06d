import random
import weakref
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kib.errors import StepError
from kib.harness.tasks import answer, batches, free, notes
from kib.records import Request
from kib_hf.loading import quietly

pytestmark = pytest.mark.usefixtures("one_thread")

CLOSE = 1e-4
MARGIN = 2e-4
LENGTH = 400
SHAPE: dict[str, Any] = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1, "initializer_range": 0.2,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": LENGTH, "attn_pdrop": 0.1}
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
    "gpt2": GPT2,
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5},
    "cohere": {"logit_scale": 0.3},
}
WORDS = ("the ", "cat ", "sat", " on", "\n\n", "Answer:", " é", "0 ", "Question: ", "a")


@cache
def model(kind: str, dtype: torch.dtype = torch.float32, implementation: str = "sdpa") -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(7)
    with quietly():
        config = AutoConfig.for_model(kind, **SHAPE, **ARCHITECTURES.get(kind, {}))
        implementation = "eager" if kind == "gemma2" else implementation
        return AutoModelForCausalLM.from_config(config, attn_implementation=implementation, dtype=dtype).eval()


@pytest.fixture(scope="module")
def make(tiny: Path) -> Callable[..., Any]:
    """Gives HFLM or a scorer around a model."""
    from lm_eval.models.huggingface import HFLM

    from kib_hf.scoring.scorer import Scorer

    def make(side: str, model: Any, **options: Any) -> Any:
        with quietly():
            return {"plain": HFLM, "kib": Scorer}[side](
                model, tokenizer=str(tiny), batch_size=4, max_length=LENGTH, **options
            )

    return make


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - it chooses words


def text(draw: random.Random, most: int) -> str:
    return "".join(draw.choice(WORDS) for _ in range(draw.randint(1, most)))


def tree(seed: int, size: int = 12) -> list[Request]:
    """Contexts that go on from each other, with one to four continuations each, and the odd cases among them."""
    draw = chance(seed)
    contexts = [text(draw, 12)]
    for _ in range(size):
        contexts.append(draw.choice(contexts) + text(draw, 8))
    pairs = [(context, " " + text(draw, 3)) for context in contexts for _ in range(draw.randint(1, 4))]
    odd = [("", "x"), ("", "<s>cat"), ("<s>a", " b"), (contexts[0] + "  ", "c"), (contexts[1], contexts[2])]
    long = [("word " * 90, " D"), ("word " * 90, " DE")]  # cut from the left
    return [Request("loglikelihood", pair) for pair in dict.fromkeys([*pairs, *odd, *long])]


def all_answers(lm: Any, requests: Sequence[Request]) -> list[Any]:
    """As a run asks them: in the LM's own batches, stored by request."""
    known = {}
    for batch in batches(requests, lm):
        known |= dict(zip(map(str, batch), answer(lm, batch), strict=True))
    return [known[str(request)] for request in requests]


def assert_same(requests: Sequence[Request], mine: Sequence[Any], plain: Sequence[Any], close: float = CLOSE) -> None:
    """Log-likelihoods are within `close`; greedy and best continuations are the same beyond rounding."""
    options: dict[str, list[tuple[float, float]]] = {}
    for request, (value, greedy), (expected, greedily) in zip(requests, mine, plain, strict=True):
        assert value == pytest.approx(expected, rel=0, abs=close), request
        assert greedy == greedily, request
        options.setdefault(request.arguments[0], []).append((expected, value))
    for pairs in options.values():
        best, *others = sorted((expected for expected, _ in pairs), reverse=True)
        if not others or best - others[0] > MARGIN:
            assert max(pairs)[1] == max(value for _, value in pairs)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), row=st.sampled_from([16, 64, 300, 2000]))
def test_log_likelihoods_are_those_of_lm_eval(make: Callable[..., Any], kind: str, seed: int, row: int) -> None:
    """On any tree of prompts, with any size of a forward pass, the numbers are those of HFLM."""
    requests = tree(seed)
    lm = make("kib", model(kind), row_tokens=row)
    assert not lm.plain
    assert_same(requests, all_answers(lm, requests), answer(make("plain", model(kind)), requests))


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_each_attention_gives_its_own_numbers(make: Callable[..., Any], implementation: str, seed: int) -> None:
    """The attention that a model was loaded with is the one that computes."""
    some, requests = model("llama", implementation=implementation), tree(seed)
    lm = make("kib", some, row_tokens=50)
    assert_same(requests, all_answers(lm, requests), answer(make("plain", some), requests))
    assert some.config._attn_implementation == implementation


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("softmax", [None, "float32"])
def test_half_precision_is_within_its_rounding(make: Callable[..., Any], kind: str, softmax: str | None) -> None:
    """In bf16 a log-likelihood is within 2e-2 a scored token of HFLM's, one step of bf16 where HFLM rounds to that."""
    some, requests = model(kind, torch.bfloat16), tree(1)
    mine, plain = (make(side, some, softmax_dtype=softmax) for side in ("kib", "plain"))
    for request, one, two in zip(requests, all_answers(mine, requests), answer(plain, requests), strict=True):
        scored = len(mine.tok_encode(request.arguments[1], add_special_tokens=False)) + 2
        step = abs(two[0]) * 2**-7 if softmax is None else 0.0
        assert one[0] == pytest.approx(two[0], rel=0, abs=2e-2 * scored + step)


def adapted(kind: str, **options: Any) -> Any:
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_config(model(kind).config).eval()
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2) if options else None
    torch.manual_seed(3)
    with quietly():
        made = get_peft_model(base, config or LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False))
    return made.eval()


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_adapters_count(make: Callable[..., Any], kind: str) -> None:
    """A model with a LoRA adapter is scored with it."""
    some, requests = adapted(kind), tree(2)
    lm = make("kib", some, row_tokens=64)
    assert not lm.plain
    assert_same(requests, all_answers(lm, requests), answer(make("plain", some), requests))
    with some.disable_adapter():
        without = answer(make("plain", some), requests)
    assert max(abs(one[0] - two[0]) for one, two in zip(without, all_answers(lm, requests), strict=True)) > 0.01


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_rolling_log_likelihoods_are_those_of_lm_eval(make: Callable[..., Any], kind: str) -> None:
    """Texts longer and shorter than the model reads have HFLM's log-likelihoods."""
    texts = [text(chance(seed), 400) for seed in range(5)]
    requests = [Request("loglikelihood_rolling", (one,)) for one in texts]
    mine = all_answers(make("kib", model(kind), row_tokens=100), requests)
    assert mine == pytest.approx(answer(make("plain", model(kind)), requests), rel=0, abs=1e-3)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "gemma3_text", "gpt2"])
def test_generated_text_is_that_of_lm_eval(make: Callable[..., Any], kind: str) -> None:
    """Greedy text ends where HFLM's ends: at a stop sequence, at the end of text or after so many tokens."""
    contexts = [request.arguments[0] for request in tree(4) if request.arguments[0]]
    stops = {"until": ["a", "\n\n"], "max_gen_toks": 9}
    requests = [Request("generate_until", (context, dict(stops))) for context in dict.fromkeys([*contexts, "<s>"])]
    requests.append(Request("generate_until", (contexts[0], {"until": [], "max_gen_toks": 3})))
    lm, plain = make("kib", model(kind), row_tokens=64), make("plain", model(kind))
    assert all_answers(lm, requests) == [answer(plain, [request])[0] for request in requests]
    assert answer(lm, requests[:3]) == all_answers(lm, requests)[:3]


def fresh(kind: str, **shape: Any) -> Any:
    """A model of its own, whose configuration a test may change."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(7)
    with quietly():
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SHAPE | shape))).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_a_window_counts_where_the_model_looks_at_it(make: Callable[..., Any], kind: str) -> None:
    """A window that only the configuration names hides nothing, whether options are scored or text is generated."""
    some, requests = fresh(kind, **ARCHITECTURES[kind]), tree(3)
    some.config.sliding_window = 20
    lm, plain = make("kib", some, row_tokens=64), make("plain", some)
    assert not lm.plain
    assert_same(requests, all_answers(lm, requests), answer(plain, requests))
    generated = [Request("generate_until", ("the cat sat " * 4, {"until": ["a"], "max_gen_toks": 9}))]
    assert all_answers(lm, generated) == answer(plain, generated)


LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 6, "first_k_dense_replace": 3,
}  # fmt: skip


def test_a_cache_of_another_kind_is_left_to_transformers(make: Callable[..., Any]) -> None:
    """A model that caches other keys than its attention gets is scored as a tree, generates as HFLM does, says so."""
    some, requests = fresh("deepseek_v3", **LATENT), tree(3)
    lm, plain = make("kib", some, row_tokens=64), make("plain", some)
    assert_same(requests, all_answers(lm, requests), answer(plain, requests))
    assert not notes(lm)
    generated = [
        Request("generate_until", (word, {"until": ["a"], "max_gen_toks": 5})) for word in ("the cat", "on it")
    ]
    assert all_answers(lm, generated) == answer(plain, generated)
    assert "generated without reading ahead what prompts share" in notes(lm)[0]


@pytest.mark.parametrize("setting", [{"num_beams": 2}, {"cache_implementation": "static"}])
@pytest.mark.parametrize("place", ["request", "folder"])
def test_other_ways_to_generate_are_lm_evals(make: Callable[..., Any], setting: dict[str, Any], place: str) -> None:
    """Beams and caches that a task or the model's own folder asks for are those of transformers."""
    some = fresh("llama")
    given = {"until": ["a"], "max_gen_toks": 5} | (setting if place == "request" else {})
    if place == "folder":
        some.generation_config.update(**setting)
    requests = [Request("generate_until", (text, given)) for text in ("the cat", "the dog sat")]
    assert all_answers(make("kib", some), requests) == [answer(make("plain", some), [one])[0] for one in requests]


def test_guesses_ahead_are_lm_evals(make: Callable[..., Any]) -> None:
    """Decoding that guesses ahead from the prompt reads it by itself, and gives what decoding without guesses does."""
    plain = {"until": ["\n"], "max_gen_toks": 9}
    lm, context = make("kib", model("llama")), "the cat sat on the cat sat on"
    some = [Request("generate_until", (context, {**plain, **more})) for more in ({}, {"prompt_lookup_num_tokens": 3})]
    one, two = (
        [all_answers(lm, [request])[0], answer(make("plain", model("llama")), [request])[0]] for request in some
    )
    assert one[0] == one[1] == two[0] == two[1]


def test_a_list_of_lm_eval_is_answered_without_a_plan(make: Callable[..., Any]) -> None:
    """Asked as lm-eval's own evaluator asks, the scorer plans by itself and answers in order."""
    requests = tree(5)
    assert_same(
        requests, answer(make("kib", model("llama")), requests), answer(make("plain", model("llama")), requests)
    )


def test_batches_are_a_function_of_the_list(make: Callable[..., Any]) -> None:
    """Batches hold each request once and depend on neither order nor what was asked before; bytes are the same."""
    requests, other = tree(6, size=40), tree(6, size=40)
    chance(1).shuffle(other)
    one, two = (make("kib", model("llama"), row_tokens=64) for _ in range(2))
    all_answers(two, tree(7))
    assert batches(requests, one) == batches(other, two)
    assert [sorted(map(str, batch)) for batch in batches(requests, one)] != [sorted(map(str, requests))]
    assert all_answers(one, requests) == all_answers(two, requests)


def test_a_batch_asked_alone_gives_the_same_bytes(make: Callable[..., Any]) -> None:
    """A run that goes on after an interruption computes what one from end to end computes, to the last bit."""
    requests = tree(8, size=40)
    whole, later = (make("kib", model("llama"), row_tokens=64) for _ in range(2))
    known = [answer(whole, batch) for batch in batches(requests, whole)]
    assert len(known) > 5
    planned = batches(requests, later)
    for number in reversed(range(len(planned))):
        assert answer(later, planned[number]) == known[number]


def test_a_sweep_costs_little_more_than_its_largest(make: Callable[..., Any]) -> None:
    """With 0 to 5 passages of one question, all that the passages share is read once."""
    passages = [f"Passage {number}. " + "text " * 12 for number in range(5)]
    options = [" one", " two", " other"]
    requests = [
        Request("loglikelihood", ("".join(passages[:k]) + "Question?", option)) for k in range(6) for option in options
    ]
    lm = make("kib", model("llama"))
    before = lm.read_tokens
    all_answers(lm, requests)
    longest = len(lm.tok_encode("".join(passages) + "Question?")) + 10
    assert lm.read_tokens - before < longest + 6 * 25


class Short:
    """A model that runs out of memory beyond so many tokens at once."""

    def __init__(self, some: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        own = some.forward

        @wraps(own)  # transformers looks at what it takes
        def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
            if input_ids.numel() > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
            return own(input_ids, *args, **options)

        monkeypatch.setattr(some, "forward", forward)


def test_less_memory_halves_what_is_read_at_once(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, the scorer goes on with half as many tokens, gives the same numbers and says so."""
    requests = [request for request in tree(9, size=30) if len("".join(request.arguments)) < 80]
    expected = answer(make("plain", model("llama")), requests)
    lm = make("kib", model("llama"), row_tokens=1000)
    Short(model("llama"), 100, monkeypatch)
    assert_same(requests, all_answers(lm, requests), expected)
    assert notes(lm)
    assert all(note.startswith("out of memory with ") for note in notes(lm))


def test_generation_goes_on_with_less_memory(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory while prompts are read, generation goes on with fewer of them at once."""
    draw = chance(1)
    contexts = [text(draw, 6) for _ in range(8)]
    requests = [
        Request("generate_until", (one, {"until": ["a"], "max_gen_toks": 4})) for one in dict.fromkeys(contexts)
    ]
    plain = make("plain", model("llama"))
    expected = [answer(plain, [request])[0] for request in requests]
    lm = make("kib", model("llama"), row_tokens=1000)
    Short(model("llama"), 30, monkeypatch)
    assert all_answers(lm, requests) == expected
    assert notes(lm)


def test_a_long_trunk_is_read_in_pieces(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in what prompts share, that is cut, also where none of the prompts could be."""
    head = "word " * 40
    requests = [Request("loglikelihood", (head, letter * 10)) for letter in "abcdefgh"]
    expected = answer(make("plain", model("llama")), requests)
    lm = make("kib", model("llama"), row_tokens=20)
    Short(model("llama"), 15, monkeypatch)
    assert_same(requests, all_answers(lm, requests), expected)
    assert notes(lm)


def test_fewer_prompts_go_on_together(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory while text is generated, fewer prompts go on at once, however few tokens they have of their own."""
    from lm_eval.models.huggingface import HFLM

    requests = [Request("generate_until", ("word " + end, {"until": ["a"], "max_gen_toks": 4})) for end in "bcde"]
    expected = [answer(make("plain", model("llama")), [one])[0] for one in requests]
    own = HFLM._model_generate

    def generate(lm: Any, context: Any, *args: Any, **options: Any) -> Any:
        if len(context) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return own(lm, context, *args, **options)

    monkeypatch.setattr(HFLM, "_model_generate", generate)
    lm = make("kib", model("llama"))
    assert all_answers(lm, requests) == expected
    assert notes(lm)[0] == "out of memory with 4 prompts at once; went on with 2"


def test_what_did_not_fit_is_not_tried_again(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once memory ran out, later batches of prompts are no larger than what fitted: few failures, few notes."""
    draw = chance(2)
    contexts = dict.fromkeys(f"{number} {text(draw, 12)}" for number in range(40))
    requests = [Request("generate_until", (one, {"until": ["a"], "max_gen_toks": 2})) for one in contexts]
    lm = make("kib", model("llama"), row_tokens=1000)
    Short(model("llama"), 60, monkeypatch)
    all_answers(lm, requests)
    assert 1 <= len(notes(lm)) <= 4


def test_a_failed_pass_is_let_go(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass computed before memory ran out is gone while its halves are computed, in writing as in scoring."""
    own, made, alive = model("llama").forward, [], []

    @wraps(own)
    def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
        alive.extend(kept() is not None for kept in made)
        if input_ids.numel() > 60:
            large = torch.empty(1000)
            made.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return own(input_ids, *args, **options)

    lm = make("kib", model("llama"), row_tokens=1000)
    monkeypatch.setattr(model("llama"), "forward", forward)
    settings = {"until": ["a"], "max_gen_toks": 1}
    all_answers(lm, [Request("generate_until", (f"{number} " + "word " * 8, settings)) for number in range(4)])
    all_answers(lm, [Request("loglikelihood", (f"{number} " + "word " * 8, " x")) for number in range(9)])
    assert made
    assert not any(alive)


def test_no_pass_reads_more_than_a_row(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the texts are that prompts share, a pass reads about a row of them, so that memory stays small."""
    own, sizes = model("llama").forward, []

    @wraps(own)
    def forward(input_ids: Any, *args: Any, **options: Any) -> Any:
        sizes.append(input_ids.numel())
        return own(input_ids, *args, **options)

    first, second = "word " * 60, "other " * 40
    contexts = [first, first + second]
    requests = [Request("loglikelihood", (one, letter * 3)) for one in contexts for letter in "abcd"]
    expected = answer(make("plain", model("llama")), requests)
    lm = make("kib", model("llama"), row_tokens=64)
    monkeypatch.setattr(model("llama"), "forward", forward)
    assert_same(requests, all_answers(lm, requests), expected)
    assert max(sizes) <= 64


def test_memory_for_not_even_one_prompt_is_an_error(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be cut any more, the step fails in a sentence."""
    lm = make("kib", model("llama"))
    Short(model("llama"), 1, monkeypatch)
    with pytest.raises(StepError, match=r"out of memory with .* tokens at once, which cannot be cut"):
        all_answers(lm, [Request("loglikelihood", ("a", "bcdefg"))])


def test_other_errors_go_on_their_way(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not a lack of memory is not taken for one."""
    lm = make("kib", model("llama"))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the size of tensor a must match")

    monkeypatch.setattr(model("llama"), "forward", fail)
    with pytest.raises(RuntimeError, match="the size of tensor a"):
        all_answers(lm, tree(1))


PLAIN: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": ({"num_hidden_layers": 2}, "recurrent"),
    "bloom": ({"n_layer": 2, "n_head": 4}, "attention cannot be replaced"),
    "llama4_text": ({"num_hidden_layers": 4, "head_dim": 8, "attention_chunk_size": 16}, "layers of other kinds"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_other_models_are_scored_as_lm_eval_does(make: Callable[..., Any], kind: str) -> None:
    """Where a cache cannot be shared, all is HFLM's own, and the reason is said."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape, reason = PLAIN[kind]
    with quietly():
        some = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SHAPE | shape))).eval()
    lm, plain = make("kib", some), make("plain", some)
    assert lm.plain
    assert "scored prompt by prompt" in notes(lm)[0]
    requests = tree(1, size=3)
    generated = [Request("generate_until", ("the cat", {"until": ["a"], "max_gen_toks": 3}))]
    rolling = [Request("loglikelihood_rolling", ("the cat sat",))]
    for some_requests in (requests, generated, rolling):
        assert all_answers(lm, some_requests) == all_answers(plain, some_requests)
    assert reason in notes(lm)[0]


def test_an_encoder_and_decoder_is_scored_as_lm_eval_does(make: Callable[..., Any]) -> None:
    """An encoder-decoder model has no prefix in its decoder; all is HFLM's own."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=258, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    some = T5ForConditionalGeneration(config).eval()
    lm, requests = make("kib", some), tree(1, size=3)
    assert "encoder-decoder" in notes(lm)[0]
    assert all_answers(lm, requests) == all_answers(make("plain", some), requests)


def test_prompts_that_an_adapter_learned_are_scored_as_lm_eval_does(make: Callable[..., Any]) -> None:
    """An adapter that puts tokens of its own before each prompt leaves nothing to share."""
    lm = make("kib", adapted("llama", virtual=True))
    assert "tokens of its own" in notes(lm)[0]


def test_an_adapter_that_waits_for_tokens_is_scored_as_lm_eval_does(make: Callable[..., Any]) -> None:
    """An adapter that works from a sequence of tokens on would find it in another prompt of the row."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=4, alora_invocation_tokens=[3, 4], target_modules=["q_proj"])
    with quietly():
        some = get_peft_model(fresh("llama"), config).eval()
    lm = make("kib", some)
    assert "waits for a sequence of tokens" in notes(lm)[0]


def test_a_model_that_gives_other_numbers_on_a_tree_is_found(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small tree is read both ways before anything is scored; a model that disagrees is scored plainly."""
    from kib_hf.scoring import tree_reader as reading

    monkeypatch.setattr(reading._Reading, "_mask", lambda *_: None)
    lm = make("kib", model("llama"))
    assert lm.plain
    assert "different numbers" in notes(lm)[0]


def test_a_continuation_without_tokens_is_an_error(make: Callable[..., Any]) -> None:
    """A continuation that has no token of its own is refused in a sentence."""
    with pytest.raises(StepError, match="a continuation of 0 tokens"):
        all_answers(make("kib", model("llama")), [Request("loglikelihood", ("a", ""))])


def test_a_model_that_is_let_go_leaves_memory(make: Callable[..., Any]) -> None:
    """After a run nothing of the scorer holds the weights."""
    import gc
    import weakref

    from transformers import AutoModelForCausalLM

    some = AutoModelForCausalLM.from_config(model("llama").config).eval()
    lm, gone = make("kib", some, row_tokens=64), weakref.ref(some)
    all_answers(lm, tree(1))
    free(lm)
    del some
    gc.collect()
    assert gone() is None
