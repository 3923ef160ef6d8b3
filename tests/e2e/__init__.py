"""The whole product, from an HTTP request to a signed webhook, through real processes."""
