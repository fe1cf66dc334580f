"""The synthetic retailer: people, catalogue, receipts, web visits and their dirt, with the truth beside them.

`write_sample` writes the landing zone that the bronze sources read, `write_day` a further day at any share of the
specification's volume. One module a domain, each of pure functions that
return frames; the feeds stand in `write.FEEDS`, the truths in `truth.TRUTHS`. A new table is a function and one line
there, with a random stream of its own.
"""

from customer360.pipelines.sample.daily import write_day
from customer360.pipelines.sample.dirt import CLEAN, Dirt
from customer360.pipelines.sample.write import END_ON, SampleSummary, write_sample

__all__ = ["CLEAN", "END_ON", "Dirt", "SampleSummary", "write_day", "write_sample"]
