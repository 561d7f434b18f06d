"""Log-likelihoods and generated text from prompts that share prefixes, with each distinct prefix computed once."""
