"""lm-eval as kib uses it: tasks, few-shot examples, metrics, requests and backends.

Only this package and the plugin for lm-eval's backends import lm-eval. Its behaviour was read in the source of 0.4.13.
"""
