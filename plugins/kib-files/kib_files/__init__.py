"""The corpus plugin `files`, which reads text, Markdown, HTML, PDF and Word files from a folder as documents."""
