"""Models over the lake: every module is one registered model, except `base`, `outputs`, `frames` and the rooms."""
