"""Bronze: rows by business domain as the source systems deliver them, in the sources' own names."""
