"""A report on every repository, from recorded GitHub webhook deliveries."""
