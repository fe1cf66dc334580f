"""Gold: one module or package a question that somebody asks of customers or the business, whatever domains it takes.

What is relative to a date (recent, frequent, likely) is said here, as of that date, and nowhere below.
"""
