"""What a request meets before its route: the server, its limits, who may ask, and how refusals are told."""
