"""Silver: facts and records by business domain, each row judged by its contract and given to its person.

A module is a domain. Its ``ACTIVITY`` says by which activity of the silver pipeline its tables are made.
"""
