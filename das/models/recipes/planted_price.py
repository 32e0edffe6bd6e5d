"""planted_price: prices tagged through two bits along one direction each (`das.models.planted_prices`)."""

from __future__ import annotations

from das.models.planted_prices import prices_recipe

RECIPE = prices_recipe("the model with planted prices", __name__, rank=1)
