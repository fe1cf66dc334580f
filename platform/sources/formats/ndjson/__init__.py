"""JSON objects, one a line: in one parse where they are plain, or with care."""
