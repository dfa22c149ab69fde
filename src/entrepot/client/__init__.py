"""The client side of `/api/v1`: references, settings, and one flow of asks and answers for two clients.

`remote.py` has `Client` and `AsyncClient`; nothing slow is imported before one of them is asked for.
"""
