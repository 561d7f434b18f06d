"""The model plugin `hf`: any causal language model of transformers, with the numbers of lm-eval's HFLM."""

from kib_hf.model import HF, HFOptions

__all__ = ["HF", "HFOptions"]
