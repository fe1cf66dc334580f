"""Pages for people, rendered here: no script, nothing loaded from elsewhere."""
