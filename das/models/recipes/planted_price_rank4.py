"""planted_price_rank4: prices tagged through two bits in four dimensions each (`das.models.planted_prices`)."""

from __future__ import annotations

from das.models.planted_prices import prices_recipe

RECIPE = prices_recipe("the model with prices planted in four dimensions", __name__, rank=4)
