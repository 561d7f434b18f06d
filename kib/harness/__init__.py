"""lm-eval as kib uses it: tasks, few-shot examples, metrics and requests."""
