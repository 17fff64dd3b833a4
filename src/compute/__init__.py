"""Runs plain functions over many items: in this process, on its cores, or on the workers of a Dask scheduler."""
