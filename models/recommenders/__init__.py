"""Recommenders of every family behind one protocol, and the choice and blend of them on a time split.

`log` is what they learn from, `scoring` what a method is; `popular`, `own`, `neighbours`, `ease`, `factors` and
`content` are the families; `candidates`, `blend`, `ranker` and `choice` join them; `retrieval` finds the nearest
vectors; `histories`, `lists` and `judging` are what registered models share; `sessions` ranks the next item of a
session. Files use it through `models.files.recommend`, lakes through `models.hybrid`.
"""
