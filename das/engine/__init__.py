"""Exact gradients without repeating frozen work: hooks, resumed forwards, caches and the three tiers over them."""
