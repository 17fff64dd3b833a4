"""Registry client, cache, store, inference engines and micro-batching."""
