"""Tasks and corpora that read published sets of questions in their official files."""
