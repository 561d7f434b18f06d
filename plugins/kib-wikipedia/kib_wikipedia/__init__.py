"""The corpus plugin `wikipedia`, which reads articles from Wikipedia or any other MediaWiki as documents."""
