"""Names of language models: whether two names denote the same model or models of one family."""

import re

__all__ = ["describe_kinship", "families"]

FAMILIES = {
    "claude": r"claude",
    "command": r"command-?(a|r|light|nightly)|c4ai",
    "deepseek": r"deepseek",
    "falcon": r"falcon",
    "gemini": r"gemini|gemma|palm-?2",
    "glm": r"glm-?\d",
    "gpt": r"gpt|^o[1-9](-|$)|chatgpt|davinci",
    "granite": r"granite",
    "grok": r"grok",
    "kimi": r"kimi|moonshot",
    "llama": r"llama|vicuna|alpaca",
    "mistral": r"mi[sx]tral|ministral|magistral|codestral|pixtral",
    "nova": r"nova-(micro|lite|pro|premier)",
    "olmo": r"olmo",
    "phi": r"\bphi-?\d",
    "qwen": r"qwen|qwq",
    "yi": r"\byi-?\d",
}
"""Patterns of model names by family; models of one family share their training data or were trained from each other."""


def families(name: str) -> set[str]:
    """Return the known families of a model by its name; a distilled model may belong to two."""
    bare = _bare(name)
    return {known for known, pattern in FAMILIES.items() if re.search(pattern, bare)}


def _bare(name: str) -> str:
    """Return a name in lower case without the organisation or the folder before it."""
    return name.rstrip("/").rpartition("/")[2].casefold().replace("_", "-")


def describe_kinship(judge: str, judge_name: str, model: str, model_name: str) -> str:
    """Return a sentence if two names denote the same model or models of one family, or ""."""
    prefers = (
        "judges tend to prefer answers of their own family; judge some answers yourself (`kib label`), or use a "
        "different judge"
    )
    if _bare(judge_name) == _bare(model_name):
        return f"{judge} and {model} are the same language model ({judge_name}); {prefers}"
    if families(judge_name) & families(model_name):
        return f"{judge} ({judge_name}) and {model} ({model_name}) are of one family; {prefers}"
    return ""
