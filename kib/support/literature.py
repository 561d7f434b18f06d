"""BibTeX entries that several plugins share: models by their Hugging Face ids, and BM25."""

from collections.abc import Iterator

__all__ = ["BM25", "of_model"]

BM25 = """@article{robertson2009bm25,
  title = {The Probabilistic Relevance Framework: {BM25} and Beyond},
  author = {Robertson, Stephen and Zaragoza, Hugo},
  journal = {Foundations and Trends in Information Retrieval},
  volume = {3},
  number = {4},
  pages = {333--389},
  year = {2009},
  doi = {10.1561/1500000019}
}"""

MODELS = {
    "mistralai/mistral-7b": """@misc{jiang2023mistral,
  title = {Mistral {7B}},
  author = {Jiang, Albert Q. and Sablayrolles, Alexandre and Mensch, Arthur and others},
  year = {2023},
  eprint = {2310.06825},
  archivePrefix = {arXiv}
}""",
    "meta-llama/llama-2-": """@misc{touvron2023llama2,
  title = {Llama 2: Open Foundation and Fine-Tuned Chat Models},
  author = {Touvron, Hugo and Martin, Louis and Stone, Kevin and others},
  year = {2023},
  eprint = {2307.09288},
  archivePrefix = {arXiv}
}""",
    "microsoft/orca-2-": """@misc{mitra2023orca2,
  title = {Orca 2: Teaching Small Language Models How to Reason},
  author = {Mitra, Arindam and Del Corro, Luciano and Mahajan, Shweti and others},
  year = {2023},
  eprint = {2311.11045},
  archivePrefix = {arXiv}
}""",
    "baai/bge-": """@misc{xiao2023cpack,
  title = {{C-Pack}: Packaged Resources To Advance General {Chinese} Embedding},
  author = {Xiao, Shitao and Liu, Zheng and Zhang, Peitian and Muennighoff, Niklas},
  year = {2023},
  eprint = {2309.07597},
  archivePrefix = {arXiv}
}""",
}
"""Models by the lowercase prefix of their Hugging Face ids."""


def of_model(hub: str) -> Iterator[str]:
    """Yield the BibTeX entries of the model with this Hugging Face id, or nothing if the id is unknown."""
    yield from (entry for start, entry in MODELS.items() if hub.lower().startswith(start))
