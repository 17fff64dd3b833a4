"""The formats of a batch: how rows are read from each, and how answers are written in each."""
