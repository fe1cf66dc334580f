"""The assortment: what sells and what does not, what prices were, which products replace or lead to others."""
