"""Asking a host, from outside, everything a time daemon could answer; `ask` asks, `report` judges."""
