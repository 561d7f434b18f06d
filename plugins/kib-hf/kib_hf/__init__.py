"""The model plugin `hf`, which runs any transformers causal language model with the same results as lm-eval's HFLM."""

from kib_hf.model import HF, HFOptions

__all__ = ["HF", "HFOptions"]
