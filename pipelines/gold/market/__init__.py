"""The market: which sources of prices can be trusted, how our prices stand, and what moves demand."""
