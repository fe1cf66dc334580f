"""Experiments: who sees what (assignment), what came of it (analysis), and whether that can be believed."""
