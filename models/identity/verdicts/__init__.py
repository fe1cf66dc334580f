"""What pairs and groups of records are held to be: rules that forbid, clusters, and the reason given."""
