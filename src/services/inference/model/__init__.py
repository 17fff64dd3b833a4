"""The served model: looked up, downloaded, verified, loaded and called."""
