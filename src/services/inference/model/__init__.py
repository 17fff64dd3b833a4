"""The served model: found, fetched, verified, loaded, called."""
