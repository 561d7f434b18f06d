"""The model plugin `hf`: any causal language model of transformers, scored by lm-eval's HFLM."""

from kib_hf.model import HF, HFOptions

__all__ = ["HF", "HFOptions"]
