"""Statistics of question scores, and ranking measures."""
