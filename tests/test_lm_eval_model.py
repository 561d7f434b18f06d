"""The `lm-eval` model, which wraps any backend of lm-eval."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import pytest
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from kib.errors import InputError
from kib.harness.requests import answer
from kib.interfaces import CheckedModel, GeneratingModel, Model
from kib.plugins.builtin.lm_eval_model import LmEvalModel
from kib.records import Request, Weights
from kib.spec.options import identity_options
from kib.testing import check_fingerprint, check_options, make_plugin


def model(**options):
    return make_plugin(LmEvalModel, {"backend": "dummy", **options})


def test_a_backend_is_loaded_by_its_name():
    """A backend is loaded by its lm-eval name."""
    lm = model().load()
    values = answer(lm, [Request("loglikelihood", ("a", letter)) for letter in "bcd"])
    assert [len(value) for value in values] == [2, 2, 2]
    assert all(number <= 0 and greedy is False for number, greedy in values)
    assert answer(lm, [Request("generate_until", ("a", {"until": ["."]}))]) == ["lol"]


def test_its_arguments_reach_the_backend(capsys):
    """Both `args` and `local_args` are passed to the backend."""
    lm = model(args={"write_out": True}, local_args={"batch_size": 3}).load()
    answer(lm, [Request("loglikelihood", ("here is", " text"))])
    assert "context: here is" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["args", "local_args"])
def test_a_backend_runs_no_code_of_its_model_by_default(table):
    """The argument `trust_remote_code` is false if it is not set, even if the backend's own default is true."""

    class Trusting(LM):
        def __init__(self, pretrained, trust_remote_code=True):
            self.given = trust_remote_code

        loglikelihood = loglikelihood_rolling = generate_until = None

    register_model(f"kib-trusting-{table}")(Trusting)
    options = {"backend": f"kib-trusting-{table}", "args": {"pretrained": "x"}}
    assert model(**options).load().given is False
    options[table] = {**options.get(table, {}), "trust_remote_code": True}
    assert model(**options).load().given is True


def test_local_args_are_not_part_of_the_identity():
    """The values of `args` are part of the model's identity, but the values of `local_args` are not."""
    one = model(args={"pretrained": "x"}, local_args={"device": "cpu"})
    other = model(args={"pretrained": "x"}, local_args={"device": "cuda", "batch_size": 2})
    assert identity_options(one.options)["args"] == identity_options(other.options)["args"] == {"pretrained": "x"}
    assert not {"cpu", "cuda"} & set(str(identity_options(other.options)).replace("'", " ").split())
    assert identity_options(model(args={"pretrained": "x"}).options) != identity_options(
        model(args={"pretrained": "y"}).options
    )


@pytest.mark.parametrize("key", ["api_key", "OPENAI_API_KEY", "auth_token", "hf_token", "secret", "password"])
@pytest.mark.parametrize("table", ["args", "local_args"])
def test_secrets_are_rejected(key, table):
    """A key, token or password in a benchmark file is rejected, but an argument with a similar name is accepted."""
    check_options(
        LmEvalModel,
        accepts=[{"backend": "b", table: {"max_gen_toks": 5, "tokenizer": "t", "tokenized_requests": False}}],
        refuses=[{"backend": "b", table: {key: "s3cret"}}],
    )


def test_options():
    """A backend must have a name, and its arguments must be plain values."""
    check_options(
        LmEvalModel,
        accepts=[{"backend": "vllm"}, {"backend": "hf", "args": {"pretrained": "x", "n": 1, "f": 0.5, "b": True}}],
        refuses=[{}, {"backend": ""}, {"backend": "hf", "args": {"a": [1]}}, {"backend": "hf", "args": "a=1"}],
    )
    assert isinstance(model(), Model)


@pytest.mark.parametrize("backend", ["local-completions", "openai-chat-completions"])
def test_a_missing_package_of_an_api_backend_is_detected(monkeypatch, backend):
    """The check of an API backend raises an error that names each missing package, before the backend is loaded."""
    made = model(backend=backend, args={"model": "m", "base_url": "http://127.0.0.1:1"})
    assert isinstance(made, CheckedModel)
    import_module("lm_eval.models.openai_completions")  # with all installed packages, as other tests need this module
    present = ModuleType("tenacity")
    present.__spec__ = ModuleSpec("tenacity", None)
    monkeypatch.setitem(sys.modules, "tenacity", present)
    made.check()
    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(InputError, match=rf"the backend {backend} requires packages .* installed: tenacity; install"):
        made.check()
    model().check()


@pytest.mark.parametrize(
    ("backend", "package", "install"),
    [
        ("vllm", "vllm", "lm-eval[vllm]"),
        ("litellm", "litellm", "lm-eval[litellm]"),
        ("anthropic-completions", "anthropic", "anthropic"),
        ("watsonx_llm", "ibm_watsonx_ai", "lm-eval[ibm-watsonx-ai]"),
        ("openai-completions", "tiktoken", "lm-eval[api]"),
    ],
)
def test_a_missing_package_of_any_backend_is_detected(monkeypatch, backend, package, install):
    """The check of a backend raises an error that names the missing package and the command that installs it."""
    name = "kib.plugins.builtin.lm_eval_model.find_spec"
    monkeypatch.setattr(name, lambda module: None if module == package else ModuleSpec(module, None))
    said = f"requires packages that are not installed: {package}; install them with `pip install '{install}'`"
    with pytest.raises(InputError) as error:
        model(backend=backend, args={"model": "m"}).check()
    assert str(error.value) == f"the backend {backend} {said}"


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [
        ("gguf", "set `base_url` in `local_args`"),
        ("local-completions", "set `base_url` in `local_args`"),
        ("watsonx_llm", "set the environment variable WATSONX_URL"),
    ],
)
def test_a_missing_address_is_detected(monkeypatch, backend, remedy):
    """The check of a backend without a default server raises an error if the address of the server is missing."""
    monkeypatch.delenv("WATSONX_URL", raising=False)
    monkeypatch.setattr("kib.plugins.builtin.lm_eval_model.find_spec", lambda module: ModuleSpec(module, None))
    with pytest.raises(InputError, match=f"^the backend {backend} requires the address of a server; {remedy}$"):
        model(backend=backend, args={"model": "m"}).check()
    model(backend="gguf", local_args={"base_url": "http://127.0.0.1:1"}).check()


def test_a_wrong_name_suggests_the_nearest():
    """The error for an unknown backend suggests similar names, if there are any."""
    with pytest.raises(InputError, match=r"lm-eval has no backend dumy; did you mean dummy"):
        model(backend="dumy").load()
    with pytest.raises(InputError, match=r"^lm-eval has no backend qqqqqqqq$"):
        model(backend="qqqqqqqq").load()


def test_a_missing_package_is_named():
    """If a backend's package is not installed, the error names the missing package."""
    if find_spec("vllm"):
        pytest.skip("vllm is installed here")
    with pytest.raises(
        InputError, match="the backend vllm requires a package that is not installed: No module named 'vllm'"
    ):
        model(backend="vllm", args={"pretrained": "x"}).load()


@pytest.mark.parametrize(
    ("backend", "args", "words"),
    [
        ("hf", {"pretrained": "nowhere/at/all", "dtype": "float32"}, "the backend hf cannot start: "),
        ("gguf", {}, "the backend gguf cannot start: must pass `base_url` to use GGUF LM!"),
    ],
)
def test_arguments_rejected_by_a_backend_are_reported(backend, args, words):
    """If a backend cannot start, the error states the reason on one line."""
    with pytest.raises(InputError) as caught:
        model(backend=backend, args=args).load()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_it_cannot_be_trained(tmp_path):
    """The `lm-eval` model can neither be trained nor load trained weights."""
    assert model().weights() is None
    with pytest.raises(InputError, match="the backend dummy cannot load trained weights"):
        model().load(Weights(tmp_path))


def test_it_has_no_public_tokenizer():
    """The `lm-eval` model exposes no tokenizer, so prompt tokens are not counted and passages are not dropped."""
    assert model().tokens() is None


@pytest.mark.parametrize(
    ("args", "length"),
    [({}, None), ({"max_length": 512}, 512), ({"max_model_len": 99}, 99), ({"max_length": "512"}, None)],
)
def test_the_context_length_is_the_argument(args, length):
    """The context length of a backend is the integer in `max_length` or `max_model_len`."""
    assert model(args=args).context_length() == length


def test_local_weights_are_fingerprinted_by_content(tmp_path):
    """The fingerprint of a local weights folder depends on its files, but a hub name has no fingerprint."""
    assert model().fingerprint() == model(args={"pretrained": "some/model"}).fingerprint() == ""
    (tmp_path / "inner").mkdir()
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "inner" / "model.safetensors"
    weights.write_bytes(b"one")
    check_fingerprint(
        lambda: model(args={"pretrained": str(tmp_path)}),
        change=lambda: weights.write_bytes(b"two"),
        same=weights.touch,
    )
    before = model(args={"pretrained": str(tmp_path)}).fingerprint()
    weights.rename(tmp_path / "model.safetensors")
    assert model(args={"pretrained": str(tmp_path)}).fingerprint() != before


@pytest.mark.parametrize("value", ["Bearer abc", "Authorization: Basic abc", "sk-12345", "https://me:pw@host/v1"])
def test_values_that_look_like_secrets_are_rejected(value):
    """A value that looks like a credential is rejected under any argument name."""
    check_options(LmEvalModel, refuses=[{"backend": "b", "args": {"extra": value}}])


def test_paths_are_fingerprinted_by_content(tmp_path):
    """A path in `args` is relative to the benchmark file, must exist, and is fingerprinted by content."""
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "a").write_text("1")
    raw = b'{"backend": "dummy", "args": {"tokenizer": "./tok"}}'

    def fingerprint():
        options = LmEvalModel.Options.model_validate_json(raw, context={"folder": tmp_path})
        return LmEvalModel(options).fingerprint()

    before = fingerprint()
    (tmp_path / "tok" / "a").write_text("2")
    assert fingerprint() != before
    with pytest.raises(ValueError, match="looks like a path, but no such file or folder exists"):
        LmEvalModel.Options.model_validate_json(raw.replace(b'tok"', b'nosuch"'), context={"folder": tmp_path})


@pytest.mark.parametrize("table", ["args", "local_args"])
def test_the_limit_on_generated_answers(table):
    """The argument `max_gen_toks` of a backend is the limit on the length of its answers in forecasts."""
    limited = make_plugin(LmEvalModel, {"backend": "dummy", table: {"max_gen_toks": 12}})
    assert isinstance(limited, GeneratingModel)
    assert limited.generated_tokens() == 12
    assert make_plugin(LmEvalModel, {"backend": "dummy"}).generated_tokens() is None
