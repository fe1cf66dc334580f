"""JSON objects, one a line: read by their bytes where lines are alike, in one parse, or with care."""
