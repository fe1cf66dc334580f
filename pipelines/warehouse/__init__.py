"""The star: dimensions and facts of the warehouse's three schemas, as pure functions of lake frames."""
