"""The routes of the API, as tables: each says who may call it, with what, and what it answers."""
