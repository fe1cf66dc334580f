"""Requests to an API: who asks (`auth`), how often (`pace`), again when it helps (`session`), and page after page
(`paging`, `crawl`).
"""
