"""A draft of `sources:` for files that nobody described: what each is about, how it maps, and why that was guessed."""
