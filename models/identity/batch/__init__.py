"""Only what a batch of records changes: the state that stands, who meets the batch, what is resolved anew."""
