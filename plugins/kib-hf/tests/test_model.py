import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Request, Weights
from kib.spec.options import identity_options
from kib.testing import make_plugin, make_tiny_model
from kib_hf import HF
from kib_hf.loading import quietly

DATA = Path(os.environ.get("KIB_TEST_DATA") or Path(__file__).parents[3].parent / "shared" / "data")
STORIES = DATA / "models" / "stories260K"
TEXTS = ("", "Once upon a time", "<s>Once", "</s>", " a", "é 桥 🚧\n\n", "word " * 2000)
PAIRS = [
    ("Once upon", " a time"),
    ("", "x"),
    ("A very long context. " * 200, " D"),
    *(("Question: Who?\nAnswer:", f" {letter}") for letter in "ABCD"),
]
CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]

pytestmark = pytest.mark.usefixtures("one_thread", "quick_collection")


@pytest.fixture(params=["tiny", "stories260K"])
def folder(request: pytest.FixtureRequest, tiny: Path) -> Path:
    """The folder of a random model with a byte tokenizer, or of a trained model with a subword tokenizer."""
    if request.param == "tiny":
        return tiny
    if not STORIES.is_dir():
        pytest.skip(f"no {STORIES}: set KIB_TEST_DATA to the folder of test data")
    return STORIES


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture(scope="module")
def lm(tiny: Path) -> Any:
    """The tiny model, loaded once for all tests in this module."""
    return model(tiny).load()


def model(folder: Path, **options: Any) -> HF:
    plugin: HF = make_plugin(HF, {"path": folder, "device": "cpu", **options})
    return plugin


def hflm(folder: Path, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    with quietly():
        return HFLM(pretrained=str(folder), device="cpu", **options)


def scores(lm: Any) -> list[float]:
    from kib.harness.requests import answer

    return [value for value, _ in answer(lm, [Request("loglikelihood", pair) for pair in PAIRS])]


@pytest.fixture(scope="module")
def near_scores(near: Callable[[float, str], Any]) -> Callable[[list[float]], Any]:
    """Assert that scores equal the expected scores up to rounding."""
    return lambda expected: [
        near(value, continuation) for value, (_, continuation) in zip(expected, PAIRS, strict=True)
    ]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_tokens(folder: Path, add_bos_token: bool | None) -> None:
    """The function that `tokens()` returns produces the same token ids as HFLM's `tok_encode`."""
    encode = model(folder, add_bos_token=add_bos_token).tokens()
    reference = hflm(folder, add_bos_token=add_bos_token)
    assert [encode(text) for text in TEXTS] == [reference.tok_encode(text) for text in TEXTS]


def test_scores(folder: Path, near_scores: Callable[[list[float]], Any]) -> None:
    """Log-likelihoods equal those from HFLM for the same model folder, with any scorer and batch size."""
    expected = near_scores(scores(hflm(folder, batch_size=8)))
    assert scores(model(folder, scorer="lm-eval", batch_size=3).load()) == expected
    assert scores(model(folder).load()) == expected
    assert scores(model(folder, batch_size=1).load()) == expected


@pytest.mark.parametrize("max_length", [None, 100])
def test_context_length(folder: Path, max_length: int | None) -> None:
    """The context length equals HFLM's and is determined without loading weights."""
    assert model(folder, max_length=max_length).context_length() == hflm(folder, max_length=max_length).max_length


@pytest.mark.parametrize(
    "changes", [{"model_type": "mamba"}, {"n_positions": 300}, {"model_type": "mamba", "n_ctx": 99}]
)
def test_context_length_of_other_configurations(copy: Path, changes: dict[str, Any]) -> None:
    """The context length is read from the configuration and the tokenizer in the same order as in lm-eval."""
    edit(copy / "config.json", **changes)
    (copy / "model.safetensors").write_bytes(b"")
    from lm_eval.models.utils import resolve_max_length
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(copy), AutoTokenizer.from_pretrained(copy)
    assert model(copy).context_length() == resolve_max_length(config, tokenizer)


def test_dtype(copy: Path, lm: Any) -> None:
    """The model is loaded with the dtype in the options or, by default, with the dtype in config.json."""
    import torch

    assert lm.model.dtype == torch.float32
    assert model(copy, dtype="bfloat16").load().model.dtype == torch.bfloat16
    edit(copy / "config.json", dtype="float16")
    assert model(copy).load().model.dtype == torch.float16


def test_chat(tiny: Path) -> None:
    """Conversations are formatted exactly as in HFLM."""
    begun = [*CONVERSATION, {"role": "assistant", "content": "It was"}]
    reference = hflm(tiny)
    assert model(tiny).chat(CONVERSATION, True) == reference.apply_chat_template(CONVERSATION, True)
    assert model(tiny).chat(begun, False) == reference.apply_chat_template(begun, False)
    assert model(tiny).chat(CONVERSATION, True).endswith("<|assistant|>\n")


def test_chat_without_system(copy: Path) -> None:
    """A system message that the chat template rejects is omitted, as in HFLM; any other rejection raises an error."""
    template = copy / "chat_template.jinja"
    refusal = "{%% if messages[0].role == '%s' %%}{{ raise_exception('never') }}{%% endif %%}{{ messages[0].content }}"
    template.write_text(refusal % "system", encoding="utf-8")
    assert model(copy).chat(CONVERSATION, True) == hflm(copy).apply_chat_template(CONVERSATION, True) == "Who?"
    template.write_text(refusal % "user", encoding="utf-8")
    with pytest.raises(InputError, match="the chat template rejects the conversation: never"):
        model(copy).chat(CONVERSATION[1:], True)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("{{ 1 + 'a' }}", "in line 2: TypeError: unsupported operand type(s) for +: 'int' and 'str'; correct"),
        ("{{ messages | length // 0 }}", "in line 2: ZeroDivisionError: "),
        ("{{ 'a'.split('') }}", "in line 2: ValueError: empty separator"),
        ("{{ 2.0 ** 9999 }}", "in line 2: OverflowError: "),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "in line 2: RecursionError: "),
        ("{{ messages[0].role.name.first }}", "in line 2: UndefinedError: 'str object' has no attribute 'name'"),
        ("{{ messages", "in line 2: TemplateSyntaxError: unexpected end of template"),
    ],
)
def test_faulty_chat_template(copy: Path, fault: str, reason: str) -> None:
    """An error of any type in a chat template names the model's folder, the line of the template and the error."""
    (copy / "chat_template.jinja").write_text(f"{{# a faulty template #}}\n{fault}", encoding="utf-8")
    with pytest.raises(InputError) as error:
        model(copy).chat(CONVERSATION, True)
    assert str(error.value).startswith(f"{copy}: the chat template fails")
    assert reason in str(error.value)
    assert str(error.value).endswith("correct the template, or set `chat_template = false`")


def test_chat_template_without_the_answer(copy: Path) -> None:
    """A chat template that omits the beginning of the model's answer raises an error about the template."""
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    with pytest.raises(InputError, match="the chat template fails: ValueError: continue_final_message is set"):
        model(copy).chat([*CONVERSATION, {"role": "assistant", "content": "It was"}], False)


@pytest.mark.parametrize(
    "form",
    ["{{ strftime_now('%d %b %Y %H:%M') }}", "{% set day = strftime_now('%Y-%m-%d') %}{{ day }}"],
)
def test_chat_date(copy: Path, form: str) -> None:
    """A chat template prints a fixed date, which can be set and is part of the model's identity."""
    (copy / "chat_template.jinja").write_text(form + " {{ messages[0].content }}", encoding="utf-8")
    default, later = model(copy), model(copy, chat_date="2025-01-02")
    assert default.chat(CONVERSATION, True) in ("26 Jul 2024 00:00 Be brief.", "2024-07-26 Be brief.")
    assert later.chat(CONVERSATION, True) in ("02 Jan 2025 00:00 Be brief.", "2025-01-02 Be brief.")
    assert identity_options(later.options)["chat_date"] == "2025-01-02"


def test_no_chat_template(copy: Path) -> None:
    """Formatting a conversation raises an error if the tokenizer has no chat template."""
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="the tokenizer has no chat template; set `chat_template = false`"):
        model(copy).chat(CONVERSATION, True)


def test_no_network(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in a local folder is identified, loaded and scored without network access."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    plugin = model(tiny)
    plugin.fingerprint()
    assert plugin.weights() == Weights(tiny)
    assert plugin.context_length() == 512
    assert len(scores(plugin.load())) == len(PAIRS)


def test_quiet(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading a model and counting tokens print nothing."""
    plugin = model(tiny)
    plugin.load()
    plugin.tokens()("word " * 5000)
    plugin.context_length()
    assert capfd.readouterr() == ("", "")


def test_trained_weights(tiny: Path, tmp_path: Path, lm: Any, near_scores: Callable[[list[float]], Any]) -> None:
    """Trained weights are scored with the original model's tokenizer, so their folder does not need a tokenizer."""
    other = make_tiny_model(tmp_path / "other", seed=1, positions=512)
    expected = near_scores(scores(model(other).load()))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (other / name).unlink()
    assert scores(model(tiny).load(Weights(other))) == expected
    assert scores(lm) != expected


@pytest.fixture(scope="module")
def shared_adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    with quietly():
        adapted = get_peft_model(base, config)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in sorted(adapted.named_parameters()):
            if "lora_" in name:
                weights.normal_(0, 0.5, generator=random)
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(shared_adapter: Path, tmp_path: Path) -> Path:
    """A copy of the adapter folder that a test may modify."""
    return Path(shutil.copytree(shared_adapter, tmp_path / "adapter"))


def test_adapter(tiny: Path, shared_adapter: Path, lm: Any, near_scores: Callable[[list[float]], Any]) -> None:
    """An adapter changes the scores, and has the same effect as in HFLM."""
    expected = near_scores(scores(hflm(tiny, peft=str(shared_adapter), batch_size=8)))
    assert scores(model(tiny).load(Weights(tiny, shared_adapter))) == expected
    assert all(base != adapted for base, adapted in zip(scores(lm), expected, strict=True))


def test_adapter_keeps_vocabulary(copy: Path, shared_adapter: Path) -> None:
    """An adapter keeps unused vocabulary entries, so that its scores are comparable with the base model's scores."""
    from transformers import AutoModelForCausalLM

    padded = AutoModelForCausalLM.from_pretrained(copy)
    padded.resize_token_embeddings(320)
    padded.save_pretrained(copy)
    adapted = model(copy).load(Weights(copy, shared_adapter))
    assert adapted.model.get_output_embeddings().weight.shape[0] == 320


def test_an_incomplete_adapter_is_an_error(tiny: Path, adapter: Path) -> None:
    """An adapter that lacks weights raises an error."""
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file({name: part for name, part in load_file(file).items() if "v_proj" not in name}, file)
    with pytest.raises(InputError, match="peft cannot load the adapter: Found missing adapter keys"):
        model(tiny).load(Weights(tiny, adapter))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_without_an_adapter_is_an_error(tiny: Path, adapter: Path, name: str) -> None:
    """An adapter folder with a missing file raises an error that names the missing file."""
    (adapter / name).unlink()
    with pytest.raises(
        InputError, match=f"this is not an adapter in peft's format, because the folder contains no {name}"
    ):
        model(tiny).load(Weights(tiny, adapter))


def test_a_missing_device_is_an_error(tiny: Path) -> None:
    """An unavailable device raises an error that lists the available devices."""
    with pytest.raises(
        InputError, match=r'device = "cuda:77": PyTorch .* finds no such device; available devices: cpu'
    ):
        model(tiny, device="cuda:77").load()


def test_the_default_device(tiny: Path) -> None:
    """The default device is the first CUDA GPU, or the CPU if no GPU is available."""
    import torch

    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert model(tiny, device="auto").load().device.type == expected


def test_the_tokenizer_is_identified_apart_from_the_weights(copy: Path) -> None:
    """The tokenizer fingerprint depends on the tokenizer's files and options, but not on the weights or their dtype."""
    first = make_plugin(HF, {"path": copy}).tokenizer_fingerprint()
    assert make_plugin(HF, {"path": copy, "dtype": "bfloat16"}).tokenizer_fingerprint() == first
    assert make_plugin(HF, {"path": copy, "add_bos_token": True}).tokenizer_fingerprint() != first
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert make_plugin(HF, {"path": copy}).tokenizer_fingerprint() == first
    with (copy / "tokenizer.json").open("a") as file:
        file.write(" ")
    assert make_plugin(HF, {"path": copy}).tokenizer_fingerprint() != first
