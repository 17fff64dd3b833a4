"""Requests and files to typed columns, and back."""
