"""The corpus plugin `wikipedia`: articles of Wikipedia, or of any other MediaWiki, as documents."""
