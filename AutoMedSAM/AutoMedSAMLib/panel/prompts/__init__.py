"""Boxes, points and masks that the user gives, and what is shown of them at once."""
