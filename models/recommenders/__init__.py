"""Recommenders of every family behind one protocol, and the hybrid that chooses and blends them on a time split.

`log` is what they learn from, `scoring` what a method is; `popular`, `own`, `neighbours`, `ease`, `factors` and `content`
are the families; `candidates`, `blend`, `ranker` and `hybrid` join them; `sessions` ranks the next item of a session;
`reading` and `offline` use all of it on a file.
"""
