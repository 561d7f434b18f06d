"""Text and questions by any OpenAI-compatible chat endpoint, as a plugin of kib.

`options` are the keys of the table, `prompts` what is asked, `answers` what counts as an answer, `endpoint` the way
there and back, `desk` many questions at once with a memory, `writer` the plugin.
"""
