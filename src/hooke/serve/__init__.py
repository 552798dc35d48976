"""Serve: the microscope on a desk. One process, one page, offline: every feature browsable, any text seen through the model live."""
