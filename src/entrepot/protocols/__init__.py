"""One folder per protocol; `base`, `delivery` and `forms` are what they share of HTTP."""
