"""The life of a registered model: plan, tune, train on Ray, track, evaluate, promote, watch for drift, score."""
