"""``make demo``: the world changes, live quality falls, and the loop learns the new world by itself."""
