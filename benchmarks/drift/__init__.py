"""How often drift is reported without drift, and how often a drift is found."""
