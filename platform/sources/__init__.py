"""Sources: where raw rows arrive. One module a kind; `records` splits bytes into records, `typing` fits them to a contract."""
