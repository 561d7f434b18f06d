"""The interface to lm-eval: tasks, few-shot examples, metrics, requests and backends.

Only this package and the plugin for lm-eval's backends import lm-eval. The code relies on internals of lm-eval 0.4.13.
"""
