"""Sources: where raw rows arrive. A module of this folder that holds a `base.Source` is a kind: `kind: files` is
`files.py`.

`base` says what a kind is, `landing` where raw files lie; `formats` turns bytes into records, `casting` fits records
to a contract, `bronze` writes them with their metadata.
"""
