"""Names and facts in SQL: plain functions over a transaction, one module per noun. Nobody else writes a query."""
