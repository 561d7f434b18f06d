"""The model plugin `hf`, which runs any causal language model from transformers with the same results as HFLM."""

from kib_hf.model import HF, HFOptions

__all__ = ["HF", "HFOptions"]
