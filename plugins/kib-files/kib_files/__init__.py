"""A folder of documents as people have them."""
