"""SQL over the columns of records: parsed, rewritten so that texts are read as what they meet, and evaluated."""
