"""Running a plan: the loop, prompts, and one file per step."""
