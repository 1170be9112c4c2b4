"""A shop: orders, payments by a provider that fails now and then, stock, and books that must add up."""
