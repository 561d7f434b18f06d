"""The requests that a model has yet to answer, counted by kind."""

from collections.abc import Collection, Iterable

from kib.interfaces import Workload
from kib.records import Prompt, Request
from kib.run.steps.cells import PreparedCell
from kib.run.token_budget import TokenBudget, generates_text
from kib.store.model_answers import request_key

__all__ = ["workloads"]


def workloads(ready: Iterable[PreparedCell], unanswered: Collection[str], budget: TokenBudget) -> list[Workload]:
    """Return the work of answering the requests with the keys `unanswered`, one workload per kind of request.

    Cells may share requests, and requests may share a prompt; each request and each prompt is counted once.
    """
    counters: dict[str, _Counter] = {}
    todo = set(unanswered)
    for cell in ready:
        for prompt, requests in zip(cell.prompts, cell.requests, strict=True):
            for request in requests:
                if (key := request_key(request)) in todo:
                    todo.remove(key)
                    counters.setdefault(request.kind, _Counter(request.kind, budget)).add(request, prompt)
    return [counter.result() for counter in counters.values()]


class _Counter:
    """The count of requests of one kind."""

    def __init__(self, kind: str, budget: TokenBudget) -> None:
        self.kind = kind
        self.budget = budget
        self.prompts: set[str] = set()
        self.requests = self.read = self.scored = self.written = self.longest = 0

    def add(self, request: Request, prompt: Prompt) -> None:
        """Count a request; its prompt is counted only with its first request."""
        tokens, answer = prompt.tokens or 0, self.budget.answer_tokens(request)
        generates = generates_text(request)
        self.requests += 1
        self.written += answer if generates else 0
        self.scored += 0 if generates else answer
        self.longest = max(self.longest, tokens + (answer if generates else 0))
        if (context := str(request.arguments[0])) not in self.prompts:
            self.prompts.add(context)
            self.read += tokens

    def result(self) -> Workload:
        """Return the counts; token counts are None without a tokenizer."""
        counts = (self.read, self.scored, self.longest) if self.budget.tokens else (None, None, None)
        read, scored, longest = counts
        return Workload(self.kind, self.requests, read, scored, self.written, longest)
