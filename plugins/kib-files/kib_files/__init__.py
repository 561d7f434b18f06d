"""The corpus plugin `files`: a folder of text, Markdown, HTML, PDF and Word files as documents."""
