"""Checks of the machinery, before anything is believed."""
