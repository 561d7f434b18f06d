import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Request, Weights
from kib.testing import make_plugin, make_tiny_model
from kib_hf import HF
from kib_hf.loading import quietly

DATA = Path(os.environ.get("KIB_TEST_DATA") or Path(__file__).parents[3].parent / "shared" / "data")
STORIES = DATA / "models" / "stories260K"
TEXTS = ("", "Once upon a time", "<s>Once", "</s>", " a", "é 桥 🚧\n\n", "word " * 2000)
REQUESTS = [
    ("Once upon", " a time"),
    ("", "x"),
    ("A very long context. " * 200, " D"),
    *(("Question: Who?\nAnswer:", f" {letter}") for letter in "ABCD"),
]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=["tiny", "stories260K"])
def folder(request: pytest.FixtureRequest, tiny: Path) -> Path:
    if request.param == "tiny":
        return tiny
    if not STORIES.is_dir():
        pytest.skip(f"no {STORIES}: set KIB_TEST_DATA to the folder of test data")
    return STORIES


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def model(folder: Path, **options: Any) -> HF:
    made: HF = make_plugin(HF, {"path": folder, "device": "cpu", **options})
    return made


def hflm(folder: Path, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    with quietly():
        return HFLM(pretrained=str(folder), device="cpu", **options)


def scores(lm: Any) -> list[float]:
    from kib.harness.tasks import answer

    return [value[0] for value in answer(lm, [Request("loglikelihood", pair) for pair in REQUESTS])]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_tokens(folder: Path, add_bos_token: bool | None) -> None:
    """The tokenizer alone gives the ids of HFLM's tok_encode."""
    encode = model(folder, add_bos_token=add_bos_token).tokens()
    reference = hflm(folder, add_bos_token=add_bos_token)
    assert [encode(text) for text in TEXTS] == [reference.tok_encode(text) for text in TEXTS]


def test_scores(folder: Path) -> None:
    """Log-probabilities are those of HFLM made from the folder's name."""
    expected = scores(hflm(folder, batch_size=8))
    assert scores(model(folder, scorer="lm-eval").load()) == pytest.approx(expected, abs=1e-6)
    assert scores(model(folder).load()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size(folder: Path, batch_size: int) -> None:
    """The batch size moves log-probabilities by rounding only."""
    assert scores(model(folder, batch_size=batch_size).load()) == pytest.approx(scores(model(folder).load()), abs=1e-4)


@pytest.mark.parametrize("max_length", [None, 100, 2048])
def test_context_length(folder: Path, max_length: int | None) -> None:
    """The context length is HFLM's, known without the weights."""
    assert model(folder, max_length=max_length).context_length() == hflm(folder, max_length=max_length).max_length


@pytest.mark.parametrize(
    "changes", [{"model_type": "mamba"}, {"n_positions": 300}, {"model_type": "mamba", "n_ctx": 99}]
)
def test_context_length_elsewhere(copy: Path, changes: dict[str, Any]) -> None:
    """Wherever a model states its length, lm-eval's order of places is kept."""
    edit(copy / "config.json", **changes)
    (copy / "model.safetensors").write_bytes(b"")
    from lm_eval.models.utils import resolve_max_length
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(copy), AutoTokenizer.from_pretrained(copy)
    assert model(copy).context_length() == resolve_max_length(config, tokenizer)


def test_dtype(tiny: Path, copy: Path) -> None:
    """Weights are computed in the number format that was asked for, by default their own."""
    import torch

    assert model(tiny).load().model.dtype == torch.float32
    assert model(tiny, dtype="bfloat16").load().model.dtype == torch.bfloat16
    edit(copy / "config.json", dtype="float16")
    assert model(copy).load().model.dtype == torch.float16


def test_chat(tiny: Path) -> None:
    """A conversation becomes HFLM's text, its system message dropped where the template refuses one."""
    ask: list[dict[str, str]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    begun = [*ask, {"role": "assistant", "content": "It was"}]
    reference = hflm(tiny)
    assert model(tiny).chat(ask, True) == reference.apply_chat_template(ask, True)
    assert model(tiny).chat(begun, False) == reference.apply_chat_template(begun, False)
    assert model(tiny).chat(ask, True).endswith("<|assistant|>\n")


def test_chat_without_system(copy: Path) -> None:
    """A system message that the template refuses is dropped, as HFLM does it; any other refusal is an error."""
    place = copy / "chat_template.jinja"
    refusal = "{%% if messages[0].role == '%s' %%}{{ raise_exception('never') }}{%% endif %%}{{ messages[0].content }}"
    ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    place.write_text(refusal % "system", encoding="utf-8")
    assert model(copy).chat(ask, True) == hflm(copy).apply_chat_template(ask, True) == "Who?"
    place.write_text(refusal % "user", encoding="utf-8")
    with pytest.raises(InputError, match="its chat template refuses the conversation: never"):
        model(copy).chat(ask[1:], True)


def test_no_chat(copy: Path) -> None:
    """A tokenizer without a chat template is an error that says so."""
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template; leave `chat_template` off"):
        model(copy).chat([{"role": "user", "content": "Who?"}], True)


def test_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in a folder is fingerprinted, counted and scored without a look at the network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    made = model(folder)
    made.fingerprint()
    assert made.weights() == Weights(folder)
    assert made.context_length() == 512
    assert len(scores(made.load())) == len(REQUESTS)


def test_quiet(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and identity_options print nothing."""
    made = model(tiny)
    made.load()
    made.tokens()("word " * 5000)
    made.context_length()
    assert capfd.readouterr() == ("", "")


def test_trained_weights(tiny: Path, tmp_path: Path) -> None:
    """A trainer's weights are scored with this model's tokenizer, which their folder need not hold."""
    other = make_tiny_model(tmp_path / "other", seed=1, positions=512)
    expected = scores(model(other).load())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (other / name).unlink()
    found = scores(model(tiny).load(Weights(other)))
    assert found == expected
    assert found != scores(model(tiny).load())


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    with quietly():
        adapted = get_peft_model(base, settings)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in sorted(adapted.named_parameters()):
            if "lora_" in name:
                weights.normal_(0, 0.5, generator=random)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_adapter(tiny: Path, adapter: Path) -> None:
    """An adapter is put on the model as HFLM puts it, and changes its answers."""
    found = scores(model(tiny).load(Weights(tiny, adapter)))
    assert found == pytest.approx(scores(hflm(tiny, peft=str(adapter), batch_size=8)), abs=1e-4)
    assert found != pytest.approx(scores(model(tiny).load()), abs=1e-3)


def test_adapter_keeps_vocabulary(copy: Path, adapter: Path) -> None:
    """An adapter leaves spare entries of the vocabulary where they are, or its scores would not compare with base."""
    from transformers import AutoModelForCausalLM

    padded = AutoModelForCausalLM.from_pretrained(copy)
    padded.resize_token_embeddings(320)
    padded.save_pretrained(copy)
    lm = model(copy).load(Weights(copy, adapter))
    assert lm.model.get_output_embeddings().weight.shape[0] == 320


def test_adapter_in_part(tiny: Path, adapter: Path) -> None:
    """An adapter of which a part does not apply is an error, not a silent base."""
    from safetensors.torch import load_file, save_file

    parts = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {name: part for name, part in parts.items() if "v_proj" not in name}, adapter / "adapter_model.safetensors"
    )
    with pytest.raises(InputError, match="peft cannot load it: Found missing adapter keys"):
        model(tiny).load(Weights(tiny, adapter))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapter_missing(tiny: Path, adapter: Path, name: str) -> None:
    """A folder that is no adapter is named as such."""
    (adapter / name).unlink()
    with pytest.raises(InputError, match=f"no {name} in it, so not an adapter"):
        model(tiny).load(Weights(tiny, adapter))


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_device_absent(tiny: Path, device: str) -> None:
    """A GPU that is not there is an error that lists what is."""
    import torch

    if torch.cuda.is_available() and device == "cuda":
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(InputError, match=rf'device = "{device}": PyTorch .* sees no such device here, only cpu'):
        model(tiny, device=device).load()


def test_device_by_default(tiny: Path) -> None:
    """Without a word on the device it is the first CUDA GPU, else the CPU."""
    import torch

    lm = model(tiny, device="auto").load()
    assert lm.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
