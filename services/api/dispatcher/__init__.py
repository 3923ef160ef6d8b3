"""The dispatcher: pushes each transition to the endpoints that asked for it, signed, in order, until it ends visibly."""
