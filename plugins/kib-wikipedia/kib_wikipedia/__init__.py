"""Articles of a MediaWiki, Wikipedia first of all, as a corpus."""
