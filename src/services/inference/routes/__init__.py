"""HTTP routes: they translate between HTTP and the objects that decide."""
